"""Float64, two CPU devices and no silent rank promotion in every test."""

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Compiled programs of a file are of no use to the next; kept, they take gigabytes and slow every collection of garbage down."""
    yield
    jax.clear_caches()
