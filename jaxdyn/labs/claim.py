"""What a claim is: a statement of a paper, with its measured and its expected value."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["holds", "does not hold", "loose", "not tested"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of a paper with what we measured.

    Attributes:
        id: short and stable, `kernel-vs-adaptive.delta-conserved`.
        paper: arXiv number and place.
        statement: in words.
        measured: the number.
        uncertainty: of the number, over seeds where there are some (what it is, is said in `unit`).
        expected: the number or the bound that the paper gives, in words where it is a bound.
        tolerance: how far the measured may lie from the expected.
        reason: where the tolerance comes from.
        verdict: `holds`, `does not hold`, `loose` (holds, but the bound is far away), `not tested`.
        seeds: lanes that it rests on.
        unit: what the number is.
    """

    id: str
    paper: str
    statement: str
    measured: float
    uncertainty: float
    expected: str
    tolerance: float
    reason: str
    verdict: Verdict
    seeds: int
    unit: str

    def __post_init__(self):
        """Makes numpy's numbers Python's, as they are read from files."""
        for name in ("measured", "uncertainty", "tolerance"):
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "seeds", int(self.seeds))

    @property
    def held(self) -> bool:
        """Whether it holds, loosely or not."""
        return self.verdict in ("holds", "loose")


def verdict(condition: Any) -> Verdict:
    """`holds` or `does not hold`."""
    return "holds" if bool(condition) else "does not hold"


def make_claim(lab: str, name: str, paper: str, statement: str, measured: float, expected: str, judged: Any, **more: Any) -> Claim:
    """A claim of a lab; one whose measured value is no number is not tested.

    Args:
        lab: the lab's name.
        name: the last part of the claim's id.
        paper: where it is from.
        statement: in words.
        measured: the number.
        expected: the number or the bound in words.
        judged: whether it holds, or the verdict.
        **more: the other fields; `uncertainty` and `tolerance` are 0 by default.

    Returns:
        The claim.
    """
    words: dict[str, Any] = {"uncertainty": 0.0, "tolerance": 0.0} | more
    said: Verdict = judged if judged in ("holds", "does not hold", "loose") else verdict(judged)
    found: Verdict = said if math.isfinite(measured) else "not tested"
    return Claim(id=f"{lab}.{name}", paper=paper, statement=statement, measured=measured, expected=expected, verdict=found, **words)


PUBLISHED_FILE = "published.json"
"""In each lab's package: its claims as its default settings measured them, as `jaxdyn claims LAB --json` writes them."""


def published(package: str | Path) -> list[Claim]:
    """The claims of a lab as its default settings measured them.

    Args:
        package: the folder of the lab's package.

    Returns:
        The claims; none for a lab that has not been published.
    """
    path = Path(package) / PUBLISHED_FILE
    return [Claim(**entry) for entry in json.loads(path.read_text())] if path.exists() else []


def with_untested(claims: Sequence[Claim], of_lab: Sequence[Claim]) -> list[Claim]:
    """Claims, and those of the lab that a small run leaves out, as not tested.

    Args:
        claims: those that were tested.
        of_lab: all claims of the lab, as they were published.

    Returns:
        The claims, in the order of the lab's.
    """
    tested = {claim.id: claim for claim in claims}
    left_out = [
        dataclasses.replace(claim, measured=math.nan, uncertainty=0.0, verdict="not tested", seeds=0)
        for claim in of_lab
        if claim.id not in tested
    ]
    places = {claim.id: place for place, claim in enumerate(of_lab)}
    return sorted([*claims, *left_out], key=lambda claim: places.get(claim.id, len(places)))
