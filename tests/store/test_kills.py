"""A sweep that is killed goes on where it stood, and ends with the bits of one that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import store_runs
import zarr
from store_runs import assert_same_bits, run

from jaxdyn.store import LaneStore

SEEDS = 160


@pytest.fixture(scope="module")
def unbroken():
    return run(None, SEEDS)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of a process that need not compile what another has compiled, nor remark on it: that would fill the pipe."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return {**os.environ, **cache, "TF_CPP_MIN_LOG_LEVEL": "3"}


def begin(out, environment):
    command = [sys.executable, store_runs.__file__, str(out), str(SEEDS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.fixture(scope="module")
def duration(tmp_path_factory, unbroken):
    """How long the sweep takes once it is compiled."""
    begun = time.monotonic()
    assert_same_bits(run(tmp_path_factory.mktemp("timing") / "run.zarr", SEEDS), unbroken)
    return time.monotonic() - begun


def blocks_done(out: Path) -> tuple[int, int]:
    try:
        marks = zarr.open_array(str(out / "done"), mode="r")[:]
    except (FileNotFoundError, zarr.errors.NodeNotFoundError):
        return 0, 0
    return int(np.count_nonzero(marks)), len(marks)


def wait_for(out, blocks):
    until = time.monotonic() + 60
    while blocks_done(out)[0] < blocks and time.monotonic() < until:
        time.sleep(0.01)


def kill_after(out, environment, seconds, blocks=0):
    process = begin(out, environment)
    wait_for(out, blocks)
    time.sleep(seconds)
    process.kill()
    process.wait()
    return blocks_done(out)


@pytest.mark.ci_slow
def test_three_kills_of_one_run(tmp_path, environment, unbroken):
    """While it is made, soon after its first block, and in its midst."""
    out = tmp_path / "run.zarr"
    waits = zip(np.random.default_rng(0).uniform(0.0, 0.05, 3), (0, 1, 12), strict=True)
    seen = [kill_after(out, environment, seconds, blocks) for seconds, blocks in waits]
    assert 0 == seen[0][0] < seen[1][0] <= seen[2][0] < seen[2][1] == 60, seen
    assert_same_bits(run(out, SEEDS), unbroken)
    assert_same_bits(run(out, SEEDS), unbroken)


@pytest.fixture
def heeded():
    """Ctrl-C is heeded, also where the tests run in the background of a shell, which ignores it for its jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_ten_kills_at_random_moments(tmp_path, environment, duration, unbroken):
    seen = []
    for number, share in enumerate(np.random.default_rng(1).uniform(0, 1, 10)):
        out = tmp_path / f"{number}.zarr"
        seen.append(kill_after(out, environment, share * duration))
        assert_same_bits(run(out, SEEDS), unbroken)
    assert any(0 < done < blocks for done, blocks in seen), seen


@pytest.mark.ci_slow
@pytest.mark.usefixtures("heeded")
def test_ctrl_c_stops_soon_and_says_how_to_go_on(tmp_path, unbroken, monkeypatch):
    """Ctrl-C when the second block has been written, however fast the machine."""
    out, write, written = tmp_path / "run.zarr", LaneStore.write, []

    def write_and_interrupt(store, *block):
        write(store, *block)
        written.append(time.monotonic())
        if len(written) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LaneStore, "write", write_and_interrupt)
    with pytest.raises(KeyboardInterrupt, match=f"whole blocks are kept in {out}: the same call again resumes"):
        run(out, SEEDS)
    assert time.monotonic() - written[1] < 2.0
    monkeypatch.undo()
    done, blocks = blocks_done(out)
    assert done == 2 < blocks
    assert_same_bits(run(out, SEEDS), unbroken)
