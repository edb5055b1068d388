"""Every lab runs from end to end at its smallest settings, figure included."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from jaxdyn.labs import LABS, read_claims
from jaxdyn.labs.claim import published


@pytest.fixture
def end_to_end(tmp_path: Path) -> Callable[[str], None]:
    """Runs a lab at its smallest settings, and runs it again."""

    def check(name: str) -> None:
        lab = LABS[name]
        first = lab.run(preset="tiny", out=tmp_path, progress=False)
        written = sorted(path.name for path in tmp_path.iterdir())
        assert written == ["claims.json", "figure.png", "figure.svg", "lab.json", "run.zarr"]
        image = matplotlib.image.imread(tmp_path / "figure.png")[..., :3]
        assert np.mean(image.min(axis=-1) < 0.9) > 0.01  # more than one pixel in a hundred is ink
        assert "<path" in (tmp_path / "figure.svg").read_text()

        package = Path(str(__import__(f"jaxdyn.labs.{name.replace('-', '_')}", fromlist=["x"]).__file__)).parent
        ids = [claim.id for claim in first.claims]
        assert len(set(ids)) == len(ids)
        assert {claim.id for claim in published(package)} <= set(ids)
        tested = [claim for claim in first.claims if claim.verdict != "not tested"]
        assert tested and all(math.isfinite(claim.measured) and claim.seeds > 0 for claim in tested)
        assert repr(read_claims(tmp_path)) == repr(first.claims)
        assert first.table and json.loads((tmp_path / "lab.json").read_text())["preset"] == "tiny"

        blocks = {path: path.stat().st_mtime_ns for path in (tmp_path / "run.zarr").rglob("*") if path.is_file()}
        again = lab.run(preset="tiny", out=tmp_path, progress=False)
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run.zarr").rglob("*") if path.is_file()} == blocks
        assert repr(again.claims) == repr(first.claims)

    return check
