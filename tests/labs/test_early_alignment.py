"""The lab of early alignment: a small run, claims that fail on other data, times and slopes by hand, and the animation."""

import dataclasses

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from jaxdyn.labs import early_alignment
from jaxdyn.labs.early_alignment import cells, claims_late, claims_open, times
from jaxdyn.labs.fits import slope

SMALL = {
    "seeds": 4,
    "draws": 2,
    "sizes": (6, 12),
    "studied": 6,
    "separations": (0.1, 0.5),
    "dim": 5,
    "neurons": 6,
    "norms": (1e-6, 1e-4, 1e-2, 10.0),
    "imbalances": (-10.0, 10.0),
    "flips": (0.2,),
    "outliers": (0.2,),
    "digits": (0, 1, 3, 8),
    "images": 12,
}


def verdicts(claims):
    return {claim.id.removeprefix("early-alignment."): claim.verdict for claim in claims}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return early_alignment.run(**SMALL, out=tmp_path_factory.mktemp("lab"), progress=False)


@pytest.mark.slow
def test_a_small_run_and_its_resumption(result):
    good = verdicts(result.claims)
    for name in ("aligned", "no-exit", "direction-equation", "signs", "balanced", "loss", "loss-logarithm", "margin", "t1-norm", "t2-norm"):
        assert good[name] == "holds", name
    assert good["stable-rank"] in ("holds", "loose") and good["direction-error"] == "loose"
    assert good["digits-cosine"] == "holds"  # of a few images
    assert all(np.fromfile(path, np.uint8).size > 1000 for path in result.paths.values() if path.endswith(("png", "svg", "json")))
    again = early_alignment.run(**SMALL, out=result.paths["store"].removesuffix("/run.zarr"), progress=False)
    assert verdicts(again.claims) == good


@pytest.mark.slow
def test_claims_fail_on_other_data(result):
    s, found, good = early_alignment.Settings(**SMALL), result.datasets, verdicts(result.claims)

    def failing(**changed):
        names = {name.replace("_", "="): ds for name, ds in changed.items()}
        now = verdicts(early_alignment.make_claims(s, found | names))
        return {name for name, word in now.items() if word == "does not hold" and good[name] != word}

    cones, plane = found["n=12"], found["plane"]
    last = cones["time"] > cones["t_end"] - 2
    assert failing(n_12=cones.assign(right=cones["right"].where(~last, 0.9))) == {"no-exit"}
    assert failing(n_12=cones.assign(right=0.9 + 0 * cones["right"])) >= {"aligned", "no-exit"}
    assert failing(n_12=cones.assign(log_time=cones["log_time"] + 4)) >= {"t1-bound", "t1-samples"}
    later = {name: ds.assign(log_time=ds["log_time"] + 9 * (ds["mu"] < 0.3)) for name, ds in found.items() if name.startswith("n=")}
    assert "t1-separation" in failing(**later)
    turned = plane["inner"].copy(data=plane["inner"].values[..., ::-1])
    assert failing(plane=plane.assign(inner=turned)) == {"direction-equation", "direction-error"}
    assert failing(plane=plane.assign(turned_over=plane["turned_over"] + 0.1)) == {"signs"}
    assert failing(plane=plane.assign(unbalanced=plane["unbalanced"] + 1e-6)) == {"balanced"}
    assert failing(n_12=cones.assign(loss=0.9 * cones["loss"])) >= {"loss", "loss-logarithm"}
    assert failing(n_12=cones.assign(stable_rank_end=cones["stable_rank_end"] + 1.1)) == {"stable-rank", "stable-rank-limit"}
    assert failing(n_12=cones.assign(margin_end=0.9 * cones["margin_end"])) == {"margin"}
    studied = found["n=6"]
    slower = studied.assign(log_time=studied["log_time"] + 0.1 * (studied["norm"] == SMALL["norms"][0]))
    assert failing(**{"n=6": slower}) >= {"t1-norm", "t2-norm"}
    wrong = studied.assign(right=studied["right"].where(studied["kind"] != "delta", 0.5))
    assert verdicts(early_alignment.make_claims(s, found | {"n=6": wrong}))["unbalanced"] == "does not hold"
    kept = studied.assign(turned_over_end=0 * studied["turned_over_end"])
    assert verdicts(early_alignment.make_claims(s, found | {"n=6": kept}))["unbalanced-signs"] == "does not hold"
    for name in ("flip", "outlier"):
        wrong = studied.assign(right=studied["right"].where(studied["kind"] != name, 0.5))
        assert verdicts(early_alignment.make_claims(s, found | {"n=6": wrong}))[f"{name}s"] == "does not hold"
    digits = found["digits"]
    wrong = digits.assign(right=0 * digits["right"], stable_rank_end=2.1 + 0 * digits["stable_rank_end"])
    now = verdicts(early_alignment.make_claims(s, found | {"digits": wrong}))
    assert now["digits-aligned"] == now["digits-rank"] == "does not hold"
    apart = digits.assign(cosine=-0.1 + 0 * digits["cosine"])
    assert verdicts(early_alignment.make_claims(s, found | {"digits": apart}))["digits-cosine"] == "does not hold"
    never = studied.assign(right=studied["right"].where(studied["kind"] != "norm", 0.5))
    assert verdicts(early_alignment.make_claims(s, found | {"n=6": never}))["norm-needed"] == "not tested"


@pytest.mark.slow
def test_an_animation_of_one_run(result, tmp_path):
    s = early_alignment.Settings(**SMALL)
    early_alignment.animate(s, result, tmp_path / "neurons.gif")
    with Image.open(tmp_path / "neurons.gif") as film:
        assert film.n_frames > 100
    with pytest.raises(ValueError, match="seed must be from 0 to 3"):
        early_alignment.animate(s, result.datasets, tmp_path / "neurons.gif", seed=4)


def lanes(right, loss, logs):
    """Two seeds of one cell, the second of which never aligns."""
    share = np.array([[right, np.full(len(right), 0.5)]])
    clock = np.arange(len(right), dtype=float)
    numbers = {"right": share, "loss": np.broadcast_to(loss, share.shape), "log_time": np.broadcast_to(logs, share.shape)}
    return xr.Dataset({name: (("cell", "seed", "time"), values) for name, values in numbers.items()}, {"time": clock})


def test_times_of_two_lanes_by_hand():
    loss = np.array([0.0, 0.0, -1.0, -2.0, np.nan])
    found = times.phases(lanes([0.5, 1.0, 0.9, 1.0, 0.0], loss, np.log([1e-300, 1.0, 2.0, 4.0, 8.0])))
    assert found.aligned[0, 0] == 1.0 and np.isnan(found.aligned[0, 1])
    # a quarter is left at log loss -log 4, between the records at t = 2 and t = 4
    np.testing.assert_allclose(found.grown[0], 2 + 2 * (np.log(4) - 1), rtol=1e-12)
    assert found.left[0].tolist() == [True, False] and found.parted[0].tolist() == [True, False]
    np.testing.assert_array_equal(found.share[0], [1.0, 0.5])
    never = times.phases(lanes([1.0, 1.0, 0.8, np.nan], np.array([0.0, -0.1, -0.2, np.nan]), np.arange(4.0)))
    assert np.isnan(never.grown).all() and never.share[0, 0] == 0.8


def test_slopes_are_those_of_the_law():
    logs = np.linspace(80, 230, 40)
    law = lanes(np.ones(40), -logs - np.log(logs), logs)
    found, expected = times.late_slopes(law)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert expected[0, 0] < -1.005
    x, y = np.random.default_rng(0).standard_normal((2, 30))
    slopes, errors = times.plane_of_logs([x, y], 2 * x - 3 * y + 1)
    np.testing.assert_allclose(slopes, [2, -3], atol=1e-12)
    assert (errors < 1e-12).all() and np.isnan(slope(x[:2], y[:2])[0])


def test_the_bounds_ask_for_a_tiny_norm():
    s = early_alignment.Settings()
    assert claims_open.bounded_norm(s) == pytest.approx(16 ** (-16 / np.sqrt(0.1)), rel=1e-9)
    assert s.small <= claims_late.SMALL


def test_cells_are_what_the_settings_ask_for():
    s = early_alignment.Settings(**SMALL)
    found = cells.cells_of(s, "n=6")
    assert [cell.kind for cell in found].count("grid") == 4 and len(found) == 2 * (2 + 4 + 2 + 1 + 1)
    assert {cell.kind for cell in cells.cells_of(s, "n=12")} == {"grid"}
    assert all(cell.samples.x.shape == (6, 2) for cell in cells.cells_of(s, "plane"))
    assert all(cell.samples.x.shape == (12, 64) for cell in cells.cells_of(s, "digits"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": 1}, "at least 2"),
        ({"sizes": (16, 8)}, "rising order"),
        ({"studied": 7}, "one of the sizes"),
        ({"separation": 0.3}, "one of the separations"),
        ({"separations": (0.0, 0.5)}, "above 0 and below 1"),
        ({"flips": (0.5, 1.0)}, "above 0 and below 1"),
        ({"imbalances": ()}, "imbalances"),
        ({"digits": (1, 1)}, "pairs of different digits"),
        ({"digits": (1,)}, "2 or more integers"),
        ({"rtol": 0.0}, "above 0"),
        ({"small": 0.1}, "at most 0.01"),
        ({"log_loss": -10.0}, "at most -35"),
    ],
)
def test_settings_that_make_no_sense(changes, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(early_alignment.Settings(), **changes)


@pytest.mark.ci_slow
def test_it_runs_from_end_to_end_at_its_smallest_settings(end_to_end):
    end_to_end("early-alignment")
