"""The lab of spurious minima: a small run, and claims that fail where they should."""

import numpy as np
import pytest
import xarray as xr

from jaxdyn.labs import spurious_minima
from jaxdyn.labs.spurious_minima.claims import share

SMALL = {"sizes": (7, 8, 9), "seeds": 48, "extra": (8,)}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return spurious_minima.run(**SMALL, out=tmp_path_factory.mktemp("lab"), progress=False)


def verdicts(claims):
    return {claim.id.removeprefix("spurious-minima."): claim.verdict for claim in claims}


@pytest.mark.slow
def test_a_small_run_finds_the_published_levels(result):
    found = verdicts(result.claims)
    shares = ("share-7", "share-8", "share-9", "share-8+1", "extra-neuron-8")
    for name in ("at-rest", "level-7", "level-8", "entries-7", *shares, "isotropy", "five-entries", "curvature-top"):
        assert found[name] == "holds", name
    assert [row["run"] for row in result.table] == ["k=7", "k=8", "k=9", "k=8+1"]
    assert all(np.fromfile(path, np.uint8).size > 1000 for path in result.paths.values() if path.endswith(("png", "svg", "json")))
    again = spurious_minima.run(**SMALL, out=result.paths["store"].removesuffix("/run.zarr"), progress=False)
    assert verdicts(again.claims) == found


@pytest.mark.slow
def test_claims_fail_on_other_data(result):
    settings, found = spurious_minima.Settings(**SMALL), dict(result.datasets)
    wrong = found | {"k=8": found["k=8"].assign(loss=found["k=8"]["loss"] * 1.001, gradient_norm=found["k=8"]["gradient_norm"] + 1e-10)}
    broken = verdicts(spurious_minima.make_claims(settings, wrong))
    assert broken["level-8"] == "does not hold" and broken["level-7"] == "holds"
    restless = found | {"k=7": found["k=7"].assign(gradient_norm=found["k=7"]["gradient_norm"] + 1e-6)}
    assert verdicts(spurious_minima.make_claims(settings, restless))["at-rest"] == "does not hold"
    flipped = found | {"k=7": found["k=7"].assign(loss=0.02 + 0 * found["k=7"]["loss"])}
    failing = verdicts(spurious_minima.make_claims(settings, flipped))
    assert failing["share-7"] == failing["share-grows"] == "does not hold"
    students = found["k=7"]["student"]
    moved = found | {"k=7": found["k=7"].assign(student=students + 1e-6)}
    assert verdicts(spurious_minima.make_claims(settings, moved))["entries-7"] == "does not hold"


def test_lanes_without_a_loss_are_not_counted_as_good():
    settings = spurious_minima.Settings(sizes=(6,), extra=())
    losses = np.asarray([0.0, 1.0, np.nan, 1.0])
    p, error = share(settings, xr.Dataset({"loss": ("seed", losses)}))
    np.testing.assert_allclose([p, error], [2 / 3, np.sqrt(2 / 27)])
    assert np.isnan(share(settings, xr.Dataset({"loss": ("seed", losses[2:3])}))).all()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": 1}, "at least 2"),
        ({"sizes": (8, 6)}, "rising order"),
        ({"extra": (21,)}, "among the sizes"),
        ({"rtol": 0.0}, "above 0"),
        ({"rest": 1.0}, "must not be above"),
    ],
)
def test_settings_that_make_no_sense(changes, match):
    with pytest.raises(ValueError, match=match):
        spurious_minima.Settings(**changes)


@pytest.mark.ci_slow
def test_it_runs_from_end_to_end_at_its_smallest_settings(end_to_end):
    end_to_end("spurious-minima")
