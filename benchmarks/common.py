"""What the benchmarks share: their arguments, the timing, and how a figure is printed."""

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from threadpoolctl import threadpool_limits

from jaxdyn import _platform


def arguments(description: str, figure: bool = False, **switches: str) -> argparse.Namespace:
    """`--quick`, `--json FILE`, with `figure` also `--figure FILE`, and switches with their help; float64 is on, and one device is used."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="end within a minute on two cores")
    parser.add_argument("--json", type=Path, help="write the figures and the machine's description here")
    if figure:
        parser.add_argument("--figure", type=Path, help="draw a figure here")
    for name, text in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    jax.config.update("jax_enable_x64", True)
    return parser.parse_args()


def pin() -> None:
    """Keeps the process on one core, where the system allows it; before the first jax computation.

    LAPACK's threads would wait for each other there: an eigenvalue decomposition of 100 rows took twenty times as long.
    """
    threadpool_limits(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def alternating_seconds(runs: Sequence[Callable[[], Any]], repeats: int, compiled: bool = False) -> list[float]:
    """Median wall times of several things, run in turn; each is called once before to compile, unless they are `compiled`."""
    for run in () if compiled else runs:
        jax.block_until_ready(run())
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, mine in zip(runs, times, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(run())
            mine.append(time.perf_counter() - begin)
    return [statistics.median(mine) for mine in times]


def at_error(rows: Sequence[Any], target: float, what: str) -> tuple[float, str]:
    """What an error costs, on the straight line, log-log, through the two settings next to it; and whether that is extrapolated."""
    table = np.log([[row.error, getattr(row, what)] for row in sorted(rows, key=lambda row: -row.error)])
    k = int(np.clip(np.sum(table[:, 0] > np.log(target)), 1, len(table) - 1))
    (e0, c0), (e1, c1) = table[k - 1 : k + 1]
    inside = e1 <= np.log(target) <= e0
    return float(np.exp(c0 + (c1 - c0) * (np.log(target) - e0) / (e1 - e0))), "" if inside else " (extrapolated)"


def report(name: str, figures: dict[str, float], details: Any, to: Path | None) -> None:
    """Prints the figures as the last lines, and writes them with the machine's description.

    Args:
        name: of the benchmark.
        figures: name to value.
        details: whatever else belongs to the run.
        to: a file, or None.
    """
    if to is not None:
        machine = _platform.describe() | {"cores": len(os.sched_getaffinity(0)), "processor": platform.processor() or platform.machine()}
        content = {"benchmark": name, "date": datetime.date.today().isoformat(), "figures": figures, "details": details}
        to.write_text(json.dumps(content | {"machine": machine, "versions": _platform.versions()}, indent=2) + "\n")
    for key, value in figures.items():
        print(f"{name}.{key} = {value:.3g}")
