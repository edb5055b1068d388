"""The lab of directional convergence: a small run, and claims that fail where they should."""

import numpy as np
import pytest

from jaxdyn.labs import directional_convergence
from jaxdyn.labs.directional_convergence import networks, saddles
from jaxdyn.solve import Outcome

SMALL = {
    "seeds": 8,
    "powers": (2,),
    "depths": (2,),
    "sizes": (1e-3, 1e-6, 1e-12, 1e-30, 1e-100),
    "collapse_seeds": 64,
    "few": (1,),
    "saddle_sizes": (1e-2, 1e-8, 1e-30, 1e-100),
}
CELL = "depth 2, p = 2"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return directional_convergence.run(**SMALL, out=tmp_path_factory.mktemp("lab"), progress=False)


def verdicts(claims):
    return {claim.id.removeprefix("directional-convergence."): claim.verdict for claim in claims}


@pytest.mark.slow
def test_a_small_run_holds(result, tmp_path):
    found = verdicts(result.claims)
    early = (
        "time-depth-2-p-2",
        "kkt-depth-2-p-2",
        "layers-depth-2-p-2",
        "blow-up",
        "limits",
        "conserved",
        "rank-depth-2-p-2",
        "values-depth-2-p-2",
    )
    for name in (
        *early,
        "lag-depth-2-p-2",
        "survivors-depth-2-p-2",
        "collapse-1",
        "newton",
        "saddle-time",
        "saddles-times",
        "saddles-slope",
    ):
        assert found[name] == "holds", name
    assert found["bound-depth-2-p-2"] in ("holds", "loose")
    assert [row["network"] for row in result.table] == [CELL]
    assert all(np.fromfile(path, np.uint8).size > 1000 for path in result.paths.values() if path.endswith(("png", "svg", "json")))
    again = directional_convergence.run(**SMALL, out=result.paths["store"].removesuffix("/run.zarr"), progress=False)
    assert verdicts(again.claims) == found
    directional_convergence.animate(directional_convergence.Settings(**SMALL), result.datasets, tmp_path / "neurons.gif")
    assert (tmp_path / "neurons.gif").read_bytes()[:3] == b"GIF"


@pytest.mark.slow
def test_claims_fail_on_other_data(result):
    settings, found = directional_convergence.Settings(**SMALL), dict(result.datasets)

    def broken(name, **changes):
        ds = found[name]
        wrong = found | {name: ds.assign({key: change(ds[key]) for key, change in changes.items()})}
        return {key for key, told in verdicts(directional_convergence.make_claims(settings, wrong)).items() if told == "does not hold"}

    before = broken(CELL)
    assert "time-depth-2-p-2" in broken(CELL, log_time=lambda t: 1.02 * t) - before
    assert "bound-depth-2-p-2" in broken(CELL, log_time=lambda t: t - 3) - before
    assert {"kkt-depth-2-p-2", "limits"} <= broken(CELL, residual=lambda r: r + 0.01) - before
    assert "layers-depth-2-p-2" in broken(CELL, shares=lambda x: x + 0.01) - before
    assert "conserved" in broken(CELL, drift=lambda x: x + 1e-3) - before
    assert "rank-depth-2-p-2" in broken(CELL, rank_one=lambda x: 0.99 * x) - before
    assert {"limits", "values-depth-2-p-2"} <= broken(CELL, N=lambda x: -x) - before
    assert {"lag-depth-2-p-2", "survivors-depth-2-p-2"} <= broken(
        CELL, a=lambda a: a + 1e-2 * np.random.default_rng(0).normal(size=a.shape)
    ) - before
    assert "collapse-1" in broken("few", outcome=lambda x: 0 * x + int(Outcome.stopped)) - before
    assert {"newton", "newton-flow"} <= broken("newton", residual=lambda r: r + 1e-9, apart=lambda x: x + 1e-3) - before
    assert "blow-up" in broken("newton", log_time=lambda t: t + 1e-5) - before
    assert "saddle-time" in broken("saddle", t_end=lambda t: 1.05 * t) - before
    assert "saddle-aligned" in broken("saddle", cosine=lambda x: x - 0.01) - before
    assert "saddle-stays" in broken("saddle", moved=lambda x: x**0.5) - before
    assert {"saddles-times", "saddles-slope"} <= broken("orthonormal", t=lambda t: 1.05 * t) - before
    assert "saddles-plateaus" in broken("orthonormal", loss=lambda x: x + 1.0) - before


@pytest.mark.parametrize("power", [1, 2, 3])
def test_one_neuron_in_the_plane(power):
    s = directional_convergence.Settings()
    one, samples = networks.one_neuron(s, power), networks.samples_in_plane(s)
    x, y = np.asarray(samples.x), np.asarray(samples.y)
    rng = np.random.default_rng(power)
    angle, sign = rng.uniform(0, 2 * np.pi, 400), rng.choice([-1.0, 1.0], 400)

    def value(angle):
        return np.maximum(np.stack([np.cos(angle), np.sin(angle)], axis=-1) @ x.T, 0) ** power @ y

    step = 1e-2  # climbs by small steps, independently of the table
    for _ in range(600):
        up, down = sign * value(angle + step), sign * value(angle - step)
        here = sign * value(angle)
        angle = np.where((up > here) & (up >= down), angle + step, np.where(down > here, angle - step, angle))
    ends = sign * value(angle)
    won = ends > 1e-3
    assert np.all(np.min(np.abs(ends[won, None] - one.peaks), axis=1) <= 0.02)
    assert abs(np.mean(~won) - one.collapse) <= 4 * np.sqrt(one.collapse / 400)
    assert np.all(np.diff(one.peaks) < 0) and np.allclose(one.signs * value(one.directions), one.peaks, atol=1e-9)


def test_the_saddle_is_stationary():
    s = directional_convergence.Settings()
    large, left = saddles.saddle_of(s)
    samples = networks.samples_in_plane(s)
    x, y = np.asarray(samples.x), np.asarray(samples.y)
    z = np.maximum(x @ large[0], 0)
    np.testing.assert_allclose(left, y - z**2, atol=1e-12)
    np.testing.assert_allclose((left * z) @ x, 0, atol=1e-10)
    assert np.linalg.norm(large) > 0.1


def test_degrees_of_layers():
    s = directional_convergence.Settings()
    assert list(s.degrees(4, 3)) == [27, 9, 3, 1] and s.order(4, 3) == 40 and s.order(2, 1) == 2
    assert s.inside(2, 1) and s.inside(4, 2) and not s.inside(3, 1)
    assert networks.ray_share(np.asarray([1, 1])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": 1}, "at least 2"),
        ({"powers": (3, 2)}, "rising order"),
        ({"depths": (3,)}, "must contain 2"),
        ({"sizes": (1e-3, 1e-2)}, "falling order"),
        ({"deep_sizes": (1e-3, 0.0)}, "falling order"),
        ({"targets": (1.0, 2.0)}, "falling order"),
        ({"slope": 1.0}, "below 1"),
        ({"rtol": 0.0}, "above 0 and below 1"),
    ],
)
def test_settings_that_make_no_sense(changes, match):
    with pytest.raises(ValueError, match=match):
        directional_convergence.Settings(**changes)


@pytest.mark.ci_slow
def test_it_runs_from_end_to_end_at_its_smallest_settings(end_to_end):
    end_to_end("directional-convergence")
