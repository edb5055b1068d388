"""The lab at a small size: what it writes, that it goes on, and that its claims can fail."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import jaxdyn as jd
from jaxdyn.labs import LABS, read_claims, read_lab_file
from jaxdyn.labs.kernel_vs_adaptive import Settings
from jaxdyn.labs.kernel_vs_adaptive.claims import make_claims
from jaxdyn.labs.kernel_vs_adaptive.sweeps import GRID, LIMIT_POINTS, starts

pytestmark = pytest.mark.ci_slow

SMALL = Settings(
    seeds=2,
    neurons=40,
    scaled_time=300.0,
    adaptive_time=10.0,
    phase_time=100.0,
    phase_scales=(0.5, 1.0),
    phase_deltas=(-1000.0, 3.0),
    limit_widths=(8, 32),
    lazy_multipliers=(16.0, 64.0),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("lab") / "run"
    return out, jd.labs.kernel_vs_adaptive.run(SMALL, out=out, progress=False)


@pytest.mark.slow
def test_writes_one_store_one_figure_and_the_claims(done):
    out, result = done
    assert (out / "figure.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and "<svg" in (out / "figure.svg").read_text()[:1000]
    assert [claim.id for claim in read_claims(out)] == [claim.id for claim in result.claims]
    assert json.loads((out / "claims.json").read_text())[0]["measured"] == result.claims[0].measured
    assert read_lab_file(out)["finished"] and read_lab_file(out)["table"] == result.table
    assert sorted(path.name for path in out.iterdir()) == ["claims.json", "figure.png", "figure.svg", "lab.json", "run.zarr"]


@pytest.mark.slow
def test_a_second_run_reads_and_computes_nothing(done, monkeypatch):
    out, result = done
    monkeypatch.setattr("jaxdyn.ensemble.run.advance", lambda *_: pytest.fail("a lane was run again"))
    again = jd.labs.kernel_vs_adaptive.run(SMALL, out=out, progress=False)
    for name, ds in result.datasets.items():
        assert again.datasets[name].identical(ds), name
    assert again.claims == result.claims


@pytest.mark.slow
def test_other_settings_and_other_labs_are_refused(done):
    out, _ = done
    with pytest.raises(ValueError, match="neurons = 40, not 32"):
        jd.labs.kernel_vs_adaptive.run(dataclasses.replace(SMALL, neurons=32), out=out, progress=False)
    assert read_lab_file(out)["finished"]


@pytest.mark.slow
def test_lanes_start_where_the_lab_says(done):
    """The imbalance of every neuron is the regime's, and the knots lie in their interval."""
    start = starts(SMALL, -1000.0, np.arange(2))
    a, b, c = start["a"][..., 0], start["b"], start["c"]
    np.testing.assert_allclose(c**2 - a**2 - b**2, -1000.0, rtol=1e-12)
    assert np.all(np.abs(b / a) <= SMALL.reach)


@pytest.mark.slow
def test_limit_error_is_against_a_spline_that_scipy_builds(done):
    """The clamped spline by scipy's own boundary conditions: f = f' = 0 at -1 needs one more point there, f'' = 0 at the end."""
    _, result = done
    x, y = np.append(-1.0, LIMIT_POINTS[0]), np.append(0.0, LIMIT_POINTS[1])
    spline = CubicSpline(x, y, bc_type=((1, 0.0), (2, 0.0)))
    f = result.datasets["limit"]["f_end"].transpose("width", "seed", ...).values[-1]
    expected = np.median(np.sqrt(((f - spline(GRID)) ** 2).mean(-1)))
    claim = next(claim for claim in result.claims if claim.id.endswith("clamped-spline"))
    assert claim.measured == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_lazy_slopes_hold_at_two_seeds(done):
    """Slopes -1 and -2 between multipliers 16 and 64; next order at 16 is below 0.1."""
    _, result = done
    slopes = {claim.id.rpartition(".")[2]: claim.measured for claim in result.claims}
    assert slopes["lazy-slope"] == pytest.approx(-1, abs=0.1) and slopes["paired-slope"] == pytest.approx(-2, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "name", "change", "claim"),
    [
        ("regimes", "conserved_drift", lambda v: v + 1e3, "delta-conserved"),
        ("full", "f", lambda v: v + np.arange(2).reshape(2, 1, 1, 1) * 0.5, "reduced-is-full"),
        ("limit", "f_end", lambda v: v + 1.0, "clamped-spline"),
        ("regimes", "linear_distance_end", lambda v: v + 1.0, "linear-spline"),
        ("regimes", "weight_near_samples_end", lambda v: 0 * v, "knots-at-samples"),
        ("lazy", "ntk_change_end", lambda v: 0 * v + 1.0, "lazy-slope"),
        ("freezing", "ntk_change_end", lambda v: 0 * v + 1.0, "delta-freezes"),
    ],
)
def test_claims_fail_on_wrong_numbers(done, sweep, name, change, claim):
    _, result = done
    ds = result.datasets[sweep]
    wrong = {**result.datasets, sweep: ds.assign({name: (ds[name].dims, change(ds[name].values))})}
    judged = {c.id.rpartition(".")[2]: c for c in make_claims(SMALL, wrong)}
    found = judged[claim]
    if claim == "reduced-is-full":  # its tolerance is the full flow's own change, which the fault enlarges too
        assert found.measured > 0.4
    else:
        assert found.verdict == "does not hold"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 1}, "seeds=1"),
        ({"neurons": 1}, "neurons=1"),
        ({"kernel_delta": 1.0}, "must be a number below 0"),
        ({"rtol": 0.0}, "rtol=0"),
        ({"limit_widths": (8,)}, "limit_widths"),
        ({"colour": 1}, "its settings are"),
    ],
)
def test_bad_settings_are_one_sentence(changes, words):
    with pytest.raises(ValueError, match=words) as error:
        jd.labs.kernel_vs_adaptive.run(**changes)
    assert "\n" not in str(error.value)


def test_every_lab_has_settings_with_help():
    for lab in LABS.values():
        assert all(field.metadata["help"] for field in dataclasses.fields(lab.settings))


@pytest.mark.ci_slow
def test_it_runs_from_end_to_end_at_its_smallest_settings(end_to_end):
    end_to_end("kernel-vs-adaptive")
