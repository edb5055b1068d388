"""The lab of max margins: a small run, and claims that fail where they should."""

import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.labs import max_margin
from jaxdyn.labs.max_margin import sweeps

SMALL = {"seeds": 6, "cosines": (0.3,), "samples": 8, "dim": 3, "neurons": 8, "deep": (4, 4), "decades": 300.0}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return max_margin.run(**SMALL, out=tmp_path_factory.mktemp("lab"), progress=False)


def verdicts(claims):
    return {claim.id.removeprefix("max-margin."): claim.verdict for claim in claims}


@pytest.mark.slow
def test_a_small_run_reaches_the_limit_that_is_known(result):
    found = verdicts(result.claims)
    for name in ("limit-cone-0.3", "gap-cone-0.3", "rises-cone-0.3", "kkt-cone-0.3", "kkt-squared"):
        assert found[name] == "holds", name
    assert "not tested" not in found.values()  # late times are reached where L = 3 too
    assert [row["run"] for row in result.table] == ["cone-0.3", "any", "squared", "deep"]
    assert np.all(result.datasets["cone-0.3"]["end_time"].values >= 300)
    assert all(np.fromfile(path, np.uint8).size > 1000 for path in result.paths.values() if path.endswith(("png", "svg", "json")))


@pytest.mark.slow
def test_the_stages_are_one_run(result):
    settings = max_margin.Settings(**SMALL)
    plain = sweeps.make_flows(settings)["cone-0.3"].inner.inner
    flow = jd.flows.DirectionClock(plain, order=2, log_norm=np.log(settings.start))
    staged = result.datasets["cone-0.3"].isel(seed=1)
    seen = np.flatnonzero(np.isfinite(staged["clock"].values) & (staged["log_norm"].values > -1))
    clock = staged["clock"].values[seen]
    start = flow.init(jr.fold_in(jr.key(0), 1))
    observe = {name: sweeps.OBSERVE[name] for name in ("log_norm", "log_time", "margin")}
    whole = jd.solve(flow, start, clock[-1], record=clock, observe=observe, solver=jd.KernelExponential(), rtol=settings.rtol)
    for name in observe:
        np.testing.assert_allclose(staged[name].values[seen], whole.observed[name], rtol=1e-3, atol=1e-3)
    assert whole.observed["log_time"][-1] > 650  # the last record before 1e300, which is e^691


@pytest.mark.slow
def test_claims_fail_on_other_data(result):
    settings, found = max_margin.Settings(**SMALL), dict(result.datasets)
    cone = found["cone-0.3"]

    def broken(**changes):
        return verdicts(max_margin.make_claims(settings, found | {"cone-0.3": cone.assign(**changes)}))

    assert broken(end_margin=0.8 * cone["end_margin"])["limit-cone-0.3"] == "does not hold"
    assert broken(end_margin_early=cone["end_margin"])["gap-cone-0.3"] == "does not hold"
    wavy = cone["log_norm"] + 0.01 * np.sin(np.arange(cone.sizes["record"]))[None, :]
    assert broken(log_norm=wavy)["rises-cone-0.3"] == "does not hold"
    assert broken(log_loss=1.1 * cone["log_loss"])["loss-cone-0.3"] == "does not hold"
    assert broken(log_norm=1.3 * cone["log_norm"])["norm-cone-0.3"] == "does not hold"
    assert broken(residual=cone["residual_early"])["kkt-cone-0.3"] == "does not hold"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": 1}, "at least 2"),
        ({"cosines": (-0.1,)}, "above 0 and below 1"),
        ({"deep": (4,)}, "2 or more integers"),
        ({"start": 0.0}, "above 0"),
        ({"decades": 50.0}, "a third"),
    ],
)
def test_settings_that_make_no_sense(changes, match):
    with pytest.raises(ValueError, match=match):
        max_margin.Settings(**changes)


@pytest.mark.ci_slow
def test_it_runs_from_end_to_end_at_its_smallest_settings(end_to_end):
    end_to_end("max-margin")
