"""What the paper leaves open: starts that are not small or not balanced, and data that are not separated."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from ..base import Claim
from ..parts import tested
from .claims_early import MIN, make_claim
from .settings import Settings
from .times import levels, of_kind, phases


def share_aligned(ds: xr.Dataset) -> float:
    """The share of runs whose neurons are all right or dead before the loss has fallen."""
    return float(phases(ds).parted.mean())


def neurons_at_end(ds: xr.Dataset) -> float:
    """The share of neurons that are right or dead at the end."""
    return float(ds["right_end"].mean())


def bounded_norm(s: Settings) -> float:
    """How small starts must be for sure: weights grow like exp(n t) at most until the bound log n / sqrt mu on t_1 (constant 1)."""
    return float(np.exp(-s.studied * np.log(s.studied) / np.sqrt(s.separation)))


def parting_norm(s: Settings, ds: xr.Dataset) -> float:
    """The largest norm of the start up to which t_1 < t_2 in all runs.

    Args:
        s: the settings.
        ds: the runs over norms.

    Returns:
        The norm; NaN where the smallest has runs that do not align.
    """
    found = np.nan
    for norm, one in levels(ds, "norm"):
        if share_aligned(one) < 1:
            break
        found = norm
    return found


def claims_of_open_questions(s: Settings, found: dict[str, xr.Dataset]) -> list[Claim]:
    """The claims.

    Args:
        s: the settings.
        found: the runs.

    Returns:
        The claims.
    """
    ds = found[f"n={s.studied}"]
    claims = [
        _norm(s, of_kind(ds, "norm"), f"{s.dim} inputs"),
        *tested(lambda: _norm(s, found["plane"], "2 inputs")),
        *_imbalance(s, of_kind(ds, "delta")),
    ]
    for kind, name, words in (("flip", "flips", "labels flipped"), ("outlier", "outliers", "inputs moved far away")):
        claims.append(_spoilt(of_kind(ds, kind), name, words))
    for kind in (kind for kind in ("digits", "mnist") if kind in found):
        claims += _images(found[kind], kind)
    return claims


def _norm(s: Settings, ds: xr.Dataset, where: str) -> Claim:
    largest, asked = parting_norm(s, ds), bounded_norm(s)
    lanes = next(one for _, one in levels(ds, "norm"))["outcome"].size
    return make_claim(
        "norm-needed" if ds["kind"].values[0] == "norm" else "norm-needed-plane",
        f"{MIN}, theorem 1 (i), with growth like exp(n t) at most",
        f"all neurons are right before the loss falls if the start is smaller than about exp(-n log n / sqrt mu); {where}",
        largest,
        f"{asked:.1g} suffices",
        "loose" if largest > 1e3 * asked else "holds",
        reason="loose beyond a factor of 1000",
        seeds=lanes,
        unit="largest norm tried up to which all runs do; shares of runs: "
        + ", ".join(f"{share_aligned(one):.2f} at {norm:g}" for norm, one in levels(ds, "norm")),
    )


def _imbalance(s: Settings, ds: xr.Dataset) -> list[Claim]:
    rows = [(delta, share_aligned(one), float((one["turned_over_end"] > 0).mean())) for delta, one in levels(ds, "delta")]
    lanes = ds["outcome"].size
    worst = min(rows, key=lambda row: row[1])
    turned = [row for row in rows if row[0] < 0]
    kept = [row[2] for row in rows if row[0] > 0]
    most = max(turned, key=lambda row: row[2], default=(np.nan,) * 3)
    return [
        make_claim(
            "unbalanced",
            "open question: starts that are not balanced",
            "all neurons are right or dead before the loss falls from unbalanced starts as well",
            worst[1],
            "1",
            worst[1] == 1,
            reason="no run may differ",
            seeds=lanes,
            unit=f"smallest share of runs, at v^2 - |w|^2 = {worst[0]:g}; "
            + ", ".join(f"{share:.2f} at {delta:g}" for delta, share, _ in rows),
        ),
        make_claim(
            "unbalanced-signs",
            "derived: v^2 - |w|^2 > 0 keeps v from 0",
            "where v^2 > |w|^2 no output weight changes its sign; where v^2 < |w|^2 some do",
            most[2],
            "> 0, and 0 for v^2 > |w|^2",
            most[2] > 0 and max(kept, default=0.0) == 0,
            reason="a share",
            seeds=lanes,
            unit=f"share of runs in which one does, at v^2 - |w|^2 = {most[0]:g}",
        ),
    ]


def _spoilt(ds: xr.Dataset, name: str, words: str) -> Claim:
    rows = [(share, share_aligned(one), neurons_at_end(one), one) for share, one in levels(ds, "share")]
    first = rows[0]
    cosine = float(first[3]["cosine"].min())
    return make_claim(
        name,
        f"open question: {words}",
        f"all neurons are right or dead before the loss falls with a share of {first[0]:g} of the {words}, smallest cosine {cosine:.2f}",
        first[1],
        "1",
        first[1] == 1,
        reason="no run may differ",
        seeds=ds["outcome"].size,
        unit="share of runs; " + "; ".join(_of_share(*row) for row in rows),
    )


def _of_share(share: float, all_right: float, neurons: float, ds: xr.Dataset) -> str:
    fitted = float((ds["margin_end"] > 0).mean())
    return (
        f"at {share:g} it is {all_right:.2f}, with {neurons:.2f} of the neurons right at the end, S_+ and S_- not empty in "
        f"{float(ds['separable'].mean()):.2f} of the data sets, all samples fitted in {fitted:.2f} of the runs"
    )


def _images(ds: xr.Dataset, kind: str) -> list[Claim]:
    title = {"digits": "scikit-learn's digits", "mnist": "MNIST"}[kind]
    cosine, rank = float(ds["cosine"].max()), ds["stable_rank_end"].values
    before, after = phases(ds).share, ds["right_end"].values
    more: dict[str, Callable | str | int] = {"seeds": int(rank.size)}
    return [
        make_claim(
            f"{kind}-cosine",
            f"{MIN}, the assumption",
            f"pairs of {title} meet the assumption, mu > 0",
            cosine,
            "> 0",
            cosine > 0,
            reason="a bound",
            unit=f"largest of the pairs' smallest cosines; the smallest is {float(ds['cosine'].min()):.2f}",
            **more,
        ),
        make_claim(
            f"{kind}-aligned",
            f"{MIN}, experiments",
            f"neurons align on {title} nevertheless",
            before.mean(),
            "1",
            before.min() == 1,
            uncertainty=before.std(ddof=1) / np.sqrt(before.size),
            reason="no neuron may differ",
            unit=f"share of neurons that are right or dead at t_2; at the end it is {after.mean():.2f}",
            **more,
        ),
        make_claim(
            f"{kind}-rank",
            f"{MIN}, theorem 1 (iii) and experiments",
            f"the stable rank is 2 at most on {title} too",
            rank.max(),
            "<= 2",
            rank.max() <= 2,
            reason="a bound",
            unit=f"largest of the runs; the median is {np.median(rank):.2f}",
            **more,
        ),
    ]
