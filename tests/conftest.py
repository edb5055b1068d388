"""Float64, two CPU devices and no silent rank promotion in every test; and programs that compile fast, where nearly all the time goes.

`XLA_FLAGS= pytest` compiles the programs as they are compiled for users, and takes twice as long.
"""

import atexit
import gc
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

# before the first import of jax, and before the processes of pytest-xdist begin, which take these over
if "XLA_FLAGS" not in os.environ and version("jaxlib") in {"0.10.1"}:  # XLA ends the process at a flag that it does not know
    loops = "while-loop-invariant-code-motion,simplify-while-loops"  # two fifths of a compilation
    os.environ["XLA_FLAGS"] = (
        f"--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1 --xla_disable_hlo_passes={loops}"
    )
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # what one file has compiled others read
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxdyn-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # or XLA warns about the machine whenever it reads a program

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)

MOST_BYTES = 2e9
"""Of a process of the tests, above which it forgets what it has compiled."""

# tracing makes many small objects, none of which is garbage for long
gc.freeze()
gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="module")
def optimised():
    """Where different programs are to give the same bits, as only optimised ones do."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """The small programs of a file are of use to the next; all that a run compiles takes gigabytes and slows the collection of garbage."""
    yield
    if resident_bytes() > MOST_BYTES:
        jax.clear_caches()
        gc.unfreeze()
        gc.collect()
    gc.freeze()


def resident_bytes() -> float:
    """Memory that this process takes now; infinity where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("inf")
