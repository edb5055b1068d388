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

SEEDS = 80


@pytest.fixture(scope="module")
def unbroken():
    return run(None, SEEDS)


def begin(out):
    command = [sys.executable, store_runs.__file__, str(out), str(SEEDS)]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}  # XLA's remarks on programs from the cache would fill the pipe
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.fixture(scope="module")
def duration(tmp_path_factory, unbroken):
    """How long the sweep takes in a process of its own, once it is compiled."""
    process = begin(tmp_path_factory.mktemp("timing") / "run.zarr")
    begun = time.monotonic()
    assert process.stdout.read() == "done\n" and process.wait() == 0, process.stderr.read()
    return time.monotonic() - begun


def blocks_done(out: Path) -> tuple[int, int]:
    try:
        marks = zarr.open_array(str(out / "lanes_0" / "done"), mode="r")[:]
    except (FileNotFoundError, zarr.errors.NodeNotFoundError):
        return 0, 0
    return int(np.count_nonzero(marks)), len(marks)


def kill_after(out, seconds):
    process = begin(out)
    time.sleep(seconds)
    process.kill()
    process.wait()
    return blocks_done(out)


def test_three_kills_of_one_run(tmp_path, duration, unbroken):
    out = tmp_path / "run.zarr"
    seen = [kill_after(out, share * duration) for share in np.random.default_rng(0).uniform(0.0, 0.5, 3)]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert any(0 < done < blocks for done, blocks in seen), seen
    assert_same_bits(run(out, SEEDS), unbroken)
    assert_same_bits(run(out, SEEDS), unbroken)


@pytest.mark.slow
def test_ten_kills_at_random_moments(tmp_path, duration, unbroken):
    seen = []
    for number, share in enumerate(np.random.default_rng(1).uniform(0, 1, 10)):
        out = tmp_path / f"{number}.zarr"
        seen.append(kill_after(out, share * duration))
        assert_same_bits(run(out, SEEDS), unbroken)
    assert any(0 < done < blocks for done, blocks in seen), seen


def test_ctrl_c_stops_soon_and_says_how_to_go_on(tmp_path, unbroken):
    out = tmp_path / "run.zarr"
    process = begin(out)
    until = time.monotonic() + 60
    while blocks_done(out)[0] == 0 and time.monotonic() < until:
        time.sleep(0.02)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert time.monotonic() - sent < 4.0  # half a second of stepping, a block's files and the end of Python, on a busy machine
    assert process.returncode != 0 and said.rstrip().endswith("KeyboardInterrupt")
    assert f"Whole blocks are kept in {out}: the same call again does what is missing." in said
    done, blocks = blocks_done(out)
    assert 0 < done < blocks
    assert_same_bits(run(out, SEEDS), unbroken)
