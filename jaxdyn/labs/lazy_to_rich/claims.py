"""The claims of the lab: scaling laws against the sweeps."""

import functools

import numpy as np
import xarray as xr

from ...ensemble import outcome_counts
from ..base import Claim, verdict
from ..parts import tested
from .boundary import Line, boundary, exponent, median_curve, on_line, spread
from .settings import Settings
from .sweeps import NETWORKS, lines

LAB = "lazy-to-rich"
CHIZAT = "Chizat, Oyallon & Bach 2019, arXiv 1812.07956, theorem 2.2"
GEIGER = "Geiger, Spigler, Jacot & Wyart 2019, arXiv 1906.08034"
WILLIAMS = "Williams et al. 2019, arXiv 1906.07842, section 2"
DERIVED = "derived from {}; docs/labs/lazy-to-rich.md"
LAZIEST = 3
"""The laws of the lazy limit are fitted to so many of the largest alphas of the first round."""


def _claim(
    name: str, paper: str, statement: str, found: tuple[float, float], expected: float, least: float, reason: str, seeds: int, unit: str
) -> Claim:
    """A number that is to lie within three standard errors, or `least`, of the expected one."""
    measured, error = found
    tolerance = max(3 * error, least) if np.isfinite(error) else least
    judged = verdict(abs(measured - expected) <= tolerance) if np.isfinite(measured) and np.isfinite(error) else "not tested"
    words = {"id": f"{LAB}.{name}", "paper": paper, "statement": statement, "expected": f"{expected:g}", "unit": unit}
    numbers = {"measured": measured, "uncertainty": error, "tolerance": tolerance, "seeds": seeds}
    return Claim(verdict=judged, reason=f"three standard errors over seeds, or {least:.2g}: {reason}", **words, **numbers)


def _first_round(ds: xr.Dataset, line: Line) -> xr.Dataset:
    """The cells of a line that lie on the common grid."""
    cells = on_line(ds, line)
    return cells.isel(cell=np.flatnonzero(cells["round"].values == 0))


def _logs(cells: xr.Dataset, name: str) -> np.ndarray:
    """Logarithms at the end, shape (cell, seed); NaN where there is nothing to take one of."""
    values = cells[f"{name}_end"].transpose("cell", "seed").values
    return np.log(np.where(values > 0, values, np.nan))


def alpha_exponent(ds: xr.Dataset, line: Line, name: str) -> tuple[float, float]:
    """The exponent of a measure in alpha in the lazy limit.

    Args:
        ds: a network's Dataset.
        line: the line.
        name: the measure.

    Returns:
        The mean slope over seeds of log measure against log alpha at the `LAZIEST` alphas, and its standard error.
    """
    cells = _first_round(ds, line).isel(cell=slice(-LAZIEST, None))
    x = np.log(cells["alpha"].values)
    slopes = (x - x.mean()) @ _logs(cells, name) / ((x - x.mean()) ** 2).sum()
    slopes = slopes[np.isfinite(slopes)]
    return (float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(slopes.size))) if slopes.size > 1 else (np.nan, np.nan)


def width_exponent(s: Settings, ds: xr.Dataset, network: str, chosen: slice) -> tuple[float, float]:
    """The exponent of the NTK change in the width at fixed alpha sqrt(m): 0 where the curves of all widths collapse.

    Args:
        s: the settings.
        ds: the network's Dataset.
        network: its name.
        chosen: which of the coarse alpha sqrt(m) to average over.

    Returns:
        The slope of the mean log NTK change against log m, and its standard error over seeds.
    """
    level = [line for line in lines(s, network) if line.delta == 0]
    means = [_logs(_first_round(ds, line).isel(cell=chosen), "ntk_change").mean(axis=0) for line in level]
    x = np.log([line.width for line in level])
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    errors = np.asarray([np.std(mean, ddof=1) / np.sqrt(mean.size) for mean in means])
    return float(weights @ np.asarray([mean.mean() for mean in means])), float(np.sqrt(np.sum((weights * errors) ** 2)))


def crossover(s: Settings, ds: xr.Dataset, network: str) -> slice:
    """The coarse alpha sqrt(m) from the richest to the first at which no width's median NTK change reaches a third of the level."""
    curves = [median_curve(_first_round(ds, line)) for line in lines(s, network) if line.delta == 0]
    return slice(0, max(1, int(np.sum(np.max(curves, axis=0) >= s.level / 3))))


def _alpha(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    line = Line(s.relu_widths[-1], 0.0)
    ratio = s.coarse[-LAZIEST]
    smooth_next = max(0.1, float(np.log1p(np.sqrt(line.width) / ratio) / np.log(s.coarse[-1] / ratio)))
    next_order = f"the next order in 1/alpha at alpha sqrt(m) = {ratio:g}"
    unit = f"mean slope of the log against log alpha over the {LAZIEST} largest, m = {line.width}"
    function, kernel = "the function's distance to the linearised network's off the samples", "the relative NTK change"
    pairs = DERIVED.format("the same expansion: c to -c in pairs makes its first order vanish")
    gates = DERIVED.format("counting the gates that flip")
    rows = [
        ("smooth", "ntk", "ntk_change", f"tanh, f = 0 at the start: {kernel} falls like 1/alpha", -1.0, CHIZAT),
        ("smooth", "function", "function_distance", f"tanh, f = 0 at the start: {function} falls like 1/alpha", -1.0, CHIZAT),
        ("paired", "ntk", "ntk_change", f"tanh, neurons in pairs of opposite sign: {kernel} falls like 1/alpha^2", -2.0, pairs),
        ("paired", "function", "function_distance", f"tanh, pairs of opposite sign: {function} falls like 1/alpha^2", -2.0, pairs),
        ("relu", "function", "function_distance", f"ReLU, which the theorem leaves out: {function} falls like 1/alpha too", -1.0, CHIZAT),
        ("relu", "gates", "function_distance", f"ReLU: {function} falls like 1/sqrt(alpha), from the gates that flip", -0.5, gates),
    ]
    return [
        _claim(
            f"{network}-alpha-{short}",
            paper,
            statement,
            alpha_exponent(found[network], line, name),
            expected,
            smooth_next,
            next_order,
            found[network]["seed"].size,
            unit,
        )
        for network, short, name, statement, expected, paper in rows
        if network in found
    ]


def finite_width(widths: tuple[int, ...]) -> float:
    """How much a relative correction of 1/sqrt(m) at the smallest width bends an exponent in m; 0 where one width bends nothing."""
    return float(np.log1p(min(widths) ** -0.5) / np.log(max(widths) / min(widths))) if len(widths) > 1 else 0.0


def _collapse(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    lazy, allowed = slice(-LAZIEST, None), finite_width(s.widths)
    reason = f"a correction of 1/sqrt(m) at m = {s.widths[0]}"
    unit = "slope of the mean log NTK change against log m at fixed alpha sqrt(m), {}"
    rich, lazier = unit.format("rich end to just past the boundary"), unit.format(f"the {LAZIEST} largest")
    fluctuates = DERIVED.format("the law of large numbers over m independent neurons")
    rows = [
        (
            "collapse-crossover",
            "smooth",
            crossover,
            "around the boundary the NTK change depends on alpha sqrt(m) alone",
            0.0,
            GEIGER,
            rich,
        ),
        ("collapse-lazy", "smooth", lazy, "it depends on alpha sqrt(m) alone deep in the lazy regime too", 0.0, GEIGER, lazier),
        (
            "lazy-fluctuation",
            "smooth",
            lazy,
            "independent neurons: there the NTK change is 1/(alpha sqrt(m)) times a fluctuation of 1/sqrt(m)",
            -0.5,
            fluctuates,
            lazier,
        ),
        (
            "collapse-lazy-paired",
            "paired",
            lazy,
            "neurons in pairs have no such fluctuation: the NTK change depends on alpha sqrt(m) alone",
            0.0,
            fluctuates,
            lazier,
        ),
    ]
    made = []
    for name, network, where, statement, expected, paper, words in rows:
        if network not in found:
            continue
        ds = found[network]
        chosen = where if isinstance(where, slice) else where(s, ds, network)
        measured = width_exponent(s, ds, network, chosen)
        made.append(_claim(name, paper, statement, measured, expected, allowed, reason, ds["seed"].size, words))
    return made


def _boundaries(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    made = []
    for network, words in (("smooth", "tanh"), ("paired", "tanh, neurons in pairs"), ("relu", "ReLU, balanced")):
        if network not in found:
            continue
        ds, level = found[network], [line for line in lines(s, network) if line.delta == 0]
        widths = tuple(line.width for line in level)
        made.append(
            _claim(
                f"boundary-{network}",
                GEIGER,
                f"{words}: the boundary between lazy and rich lies at alpha* proportional to 1/sqrt(m)",
                exponent(np.asarray(widths, float), [boundary(ds, line, s.level) for line in level]),
                -0.5,
                finite_width(widths),
                f"a correction of 1/sqrt(m) at m = {widths[0]}",
                ds["seed"].size,
                f"slope of log alpha* against log m, alpha* where the median NTK change is {s.level:g}",
            )
        )
    return made


def _imbalance(s: Settings, found: dict[str, xr.Dataset]) -> Claim:
    ds, negative = found["relu"], [line for line in lines(s, "relu") if line.delta <= -10]
    return _claim(
        "boundary-imbalance",
        DERIVED.format("the flow in (r, theta) of " + WILLIAMS),
        "ReLU, delta to -infinity: alpha* is proportional to 1/|delta|, so any fixed start ends up lazy",
        exponent(np.asarray([-line.delta for line in negative]), [boundary(ds, line, s.level) for line in negative]),
        -1.0,
        0.05,
        "the next order, (r/delta)^2, of the smallest |delta|",
        ds["seed"].size,
        "slope of log alpha* against log |delta| for delta <= -10",
    )


def _share(name: str, statement: str, hits: np.ndarray, allowed: float, unit: str) -> Claim:
    share, count = float(hits.mean()), hits.size
    error = float(np.sqrt(0.5 * 0.5 / count)) if 0 < share < 1 else 1.0 / count
    return Claim(
        id=f"{LAB}.{name}",
        paper=WILLIAMS,
        statement=statement,
        measured=share,
        uncertainty=error,
        expected="every seed",
        tolerance=allowed,
        reason="finite width: three seeds in four, where chance would give one half; the error is the binomial one",
        verdict=verdict(share >= 1 - allowed),
        seeds=count,
        unit=unit,
    )


def _splines(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    ds, m = found["relu"], s.relu_widths[-1]
    kernel = _first_round(ds, Line(m, min(s.deltas))).isel(cell=-1)
    rich = _first_round(ds, Line(m, 0.0)).isel(cell=0)
    made = []
    for name, cell, near, far, words in (
        ("lazy-cubic", kernel, "cubic", "linear", f"lazy end at delta = {min(s.deltas):g}: the function is nearer to the cubic spline"),
        ("rich-linear", rich, "linear", "cubic", "rich end at delta = 0: the function is nearer to the linear spline"),
    ):
        hits = (cell[f"{near}_distance_end"] < cell[f"{far}_distance_end"]).values
        made.append(_share(name, words, hits, 0.25, "share of seeds"))
    return made


def make_claims(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """All claims of the lab.

    Args:
        s: the settings.
        found: the sweeps.

    Returns:
        The claims with their verdicts.
    """
    return tested(*(functools.partial(part, s, found) for part in (_alpha, _collapse, _boundaries, _imbalance, _splines)))


def make_table(s: Settings, found: dict[str, xr.Dataset], claims: list[Claim]) -> list[dict]:
    """A row a line of the phase diagram.

    Args:
        s: the settings.
        found: the sweeps.
        claims: the claims, unused.

    Returns:
        The rows; NTK changes are medians over seeds at the end, at the rich and the lazy end of the line.
    """
    rows = []
    for network in (one for one in NETWORKS if one in found):
        for line in lines(s, network):
            cells, alpha = on_line(found[network], line), boundary(found[network], line, s.level)
            curve = median_curve(cells)
            rows.append({
                "network": network,
                "width": line.width,
                "delta": f"{line.delta:g}",
                "boundary alpha*": alpha[0],
                "alpha* sqrt(m)": alpha[0] * float(np.sqrt(line.width)),
                "error of log": spread(alpha[1]),
                "NTK change, rich": float(curve[0]),
                "NTK change, lazy": float(curve[-1]),
                "lanes": int(cells.sizes["cell"] * cells.sizes["seed"]),
                "outcomes": ", ".join(f"{count} {outcome}" for outcome, count in outcome_counts(cells).items()),
            })
    return rows
