"""A lab that takes no time: two settings' worth of arithmetic, files included."""

import dataclasses
from pathlib import Path

import pytest

import jaxdyn.labs
from jaxdyn.labs.base import Claim, Lab, LabResult, begin, finish, verdict


@dataclasses.dataclass(frozen=True)
class ToySettings:
    seeds: int = dataclasses.field(default=4, metadata={"help": "random starts"})
    rtol: float = dataclasses.field(default=1e-6, metadata={"help": "relative tolerance"})
    scales: tuple[float, ...] = dataclasses.field(default=(0.1, 1.0), metadata={"help": "init scales"})
    mode: str = dataclasses.field(default="plain", metadata={"help": "plain, broken, stopped, wrong or buggy"})
    balanced: bool = dataclasses.field(default=True, metadata={"help": "whether"})


def toy_run(settings: ToySettings, *, out: Path | None, width: int | None, progress: bool) -> LabResult:
    if out is not None:
        begin(out, "toy-lab", settings)
    if settings.mode == "stopped":
        raise KeyboardInterrupt
    if settings.mode == "broken":
        from jaxdyn.ensemble.sweep import check_seeds

        check_seeds(0)
    if settings.mode == "buggy":
        float("not a number")
    measured = float(sum(settings.scales)) * settings.seeds
    holds = verdict(settings.mode != "wrong")
    claim = Claim(
        "toy-lab.sum",
        "0000.00000, eq. 1",
        "the sum is as expected",
        measured,
        0.25,
        "4.4",
        0.1,
        "by definition",
        holds,
        settings.seeds,
        "sum",
    )
    table = [{"scale": scale, "seeds": settings.seeds, "width": width or 0} for scale in settings.scales]
    paths = {}
    if out is not None:
        finish(out, "toy-lab", settings, table, [claim])
        paths = {"claims": str(out / "claims.json")}
    return LabResult("toy-lab", dataclasses.asdict(settings), {}, table, [claim], paths)


@pytest.fixture
def toy_lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    lab = Lab("toy-lab", "sums of scales", "Nobody (2000), arXiv 0000.00000", ToySettings, toy_run)
    monkeypatch.setattr(jaxdyn.labs, "LABS", {"toy-lab": lab}, raising=False)
    monkeypatch.chdir(tmp_path)
    return lab
