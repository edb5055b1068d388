"""A lab that takes no time: two settings' worth of arithmetic, files included."""

import dataclasses
from pathlib import Path

import pytest

import jaxdyn.labs
from jaxdyn.labs.base import Claim, Lab, LabResult, LabSettings, begin, finish, setting, verdict


@dataclasses.dataclass(frozen=True)
class ToySettings(LabSettings):
    seeds: int = setting(4, "random starts", quick=2, least=1)
    rtol: float = setting(1e-6, "relative tolerance", above=0, below=1)
    scales: tuple[float, ...] = setting((0.1, 1.0), "init scales", tiny=(1.0,), above=0, entries=1, order="rising")
    sizes: tuple[tuple[int, int], ...] = setting(((2, 3), (4, 5)), "pairs", least=1, entries=1)
    mode: str = setting("plain", "what goes wrong", options=("plain", "broken", "stopped", "wrong", "buggy"))
    balanced: bool = setting(True, "whether")

    def conflicts(self, fit):
        if fit("seeds", "rtol") and self.seeds * self.rtol > 2:
            yield f"seeds={self.seeds} times rtol={self.rtol} must be at most 2."


def toy_run(
    settings: ToySettings, *, out: Path | None, width: int | None = None, progress: bool = True, preset: str | None = None
) -> LabResult:
    if out is not None:
        begin(out, "toy-lab", settings, preset)
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
        finish(out, "toy-lab", settings, preset, table, [claim])
        paths = {"claims": str(out / "claims.json")}
    return LabResult("toy-lab", dataclasses.asdict(settings), {}, table, [claim], paths)


@pytest.fixture
def toy_lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    lab = Lab("toy-lab", "sums of scales", "Nobody (2000), arXiv 0000.00000", ToySettings, toy_run)
    monkeypatch.setattr(jaxdyn.labs, "LABS", {"toy-lab": lab}, raising=False)
    monkeypatch.chdir(tmp_path)
    return lab
