"""The lab of low rank: theory against scipy and by hand, claims of made-up runs that hold and fail, and a small run."""

import dataclasses

import jax
import jax.random as jr
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import xarray as xr

import jaxdyn as jd
from jaxdyn.labs import low_rank_leaky as lab
from jaxdyn.labs.low_rank_leaky import claims, claims_descent, claims_flow, sweeps, theory
from jaxdyn.solve import Outcome

SMALL = lab.Settings(
    seeds=3, slopes=(0.3, 0.5), samples=4, width=8, dims=(100_000, 60), hard=5, sizes=((8, 20), (16, 40)), first=4, steps=2000
)


def verdicts(found):
    return {claim.id.removeprefix("low-rank-leaky."): claim.verdict for claim in found}


def test_the_limit_on_orthonormal_data_is_the_closed_form():
    g, n = 0.3, 6
    samples = jd.data.orthonormal(n, 9, key=jr.key(3))
    x, y = np.asarray(samples.x), np.asarray(samples.y)
    limit = theory.limit_of(samples, g)
    np.testing.assert_allclose(limit.margin, np.sqrt((1 + g**2) / (2 * n)), rtol=1e-10)
    v, u = x[y > 0].sum(0) - g * x[y < 0].sum(0), x[y < 0].sum(0) - g * x[y > 0].sum(0)
    np.testing.assert_allclose(limit.positive / np.linalg.norm(limit.positive), v / np.linalg.norm(v), atol=1e-10)
    np.testing.assert_allclose(limit.negative / np.linalg.norm(limit.negative), u / np.linalg.norm(u), atol=1e-10)
    np.testing.assert_allclose(limit.duals, 2 / (1 + g**2), rtol=1e-9)
    np.testing.assert_allclose(limit.stable_rank, theory.orthonormal_rank(g), rtol=1e-10)
    np.testing.assert_allclose(limit.boundary, (1 + g) / (1 + g**2) * (y @ x), atol=1e-10)
    assert limit.all_active
    assert theory.orthogonality(samples, g) == np.inf


def test_the_limit_is_the_convex_optimum_by_scipy():
    g = 0.4
    samples = jd.data.nearly_orthogonal(6, 80, key=jr.key(5), norm=1.0, balanced=True)
    x, y = np.asarray(samples.x), np.asarray(samples.y)
    limit = theory.limit_of(samples, g)
    q = np.linalg.qr(x.T)[0]
    coordinates = x @ q

    def margins(w):  # of a network of one neuron of each sign, by its activation
        z = coordinates @ w.reshape(2, -1).T
        z = np.where(z > 0, z, g * z)
        return y * (z[:, 0] - z[:, 1]) / np.sqrt(2)

    start = np.concatenate([y @ coordinates, -y @ coordinates]) * 3
    found = scipy.optimize.minimize(
        lambda w: w @ w / 2,
        start,
        jac=lambda w: w,
        constraints={"type": "ineq", "fun": lambda w: margins(w) - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(1 / np.linalg.norm(found.x), limit.margin, rtol=1e-6)
    ours = np.concatenate([limit.positive @ q, limit.negative @ q])
    np.testing.assert_allclose(found.x / np.linalg.norm(found.x), ours, atol=1e-5)
    assert limit.all_active


def test_samples_off_the_margin_are_seen():
    x = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.1], [3.0, 0.5, 0.0], [0.0, -1.0, 0.3]])
    limit = theory.limit_of(jd.data.points(x, np.array([1.0, -1.0, 1.0, -1.0])), 0.5)
    assert limit.duals.min() <= 1e-12 and not limit.all_active


def test_late_margins_are_those_of_the_flow_by_scipy():
    g = 0.5
    samples = theory.samples_of(SMALL, g)["d=60"]
    limit = theory.limit_of(samples, g)
    rows = theory._rows(samples, g)
    gram = rows @ rows.T
    found = scipy.integrate.solve_ivp(
        lambda tau, a: np.exp(tau - gram @ a), (0, np.log(1e8)), np.zeros(4), method="LSODA", rtol=1e-10, atol=1e-12
    )  # of tau = log t
    late = np.log(1e8)
    np.testing.assert_allclose(gram @ found.y[:, -1], limit.at(late), atol=1e-6)
    np.testing.assert_allclose(theory.late_rows(samples, g, limit, np.asarray(late)).ravel(), found.y[:, -1] @ rows, atol=1e-6)
    assert np.ptp(limit.at(late)) > 0.01  # the offsets are something


def test_relu_ends_where_its_gates_say():
    model = jd.models.TwoLayer(6, 4, False, "relu", "sqrt", "a", committee=True, alternating=True)
    samples = jd.data.orthonormal(4, 4, key=jr.key(2))
    x, y = np.asarray(samples.x), np.asarray(samples.y)
    signs = np.asarray(model.init(jr.key(0))["c"])
    np.testing.assert_array_equal(signs, [1, -1, 1, -1, 1, -1])
    start = np.asarray(model.init(jr.key(4))["a"])
    z = 1e-6 * start @ x.T
    late = np.log(1e6)

    def field(tau, flat):
        z = flat.reshape(6, 4)
        pull = np.exp(tau - y * (signs @ np.maximum(z, 0)) / np.sqrt(6)) * y
        return ((z > 0) * signs[:, None] * pull / np.sqrt(6)).ravel()

    begun = z + 1e-3 * (z > 0) * signs[:, None] * y / np.sqrt(6)  # past the kinks, all of which lie before t = 1e-3
    found = scipy.integrate.solve_ivp(field, (np.log(1e-3), late), np.where(z > 0, np.maximum(begun, 0), z).ravel(), rtol=1e-9, atol=1e-9)
    then = theory.relu_end(start, signs, samples, late)
    assert np.linalg.norm(then - found.y[:, -1].reshape(6, 4) @ x) <= 1e-4 * np.linalg.norm(then)
    assert not np.isfinite(theory.stable_rank(theory.relu_end(-np.abs(start) @ x, signs, samples, late)))  # all dead


def test_the_first_gradient_is_that_of_the_loss():
    model = jd.models.TwoLayer(8, 20, False, "leaky_relu:0.3", "sqrt", "a", committee=True, alternating=True, init_scale=1e-9)
    samples = sweeps.drawn_for(SMALL, 20)
    params = model.init(jr.key(1))
    gradient = jax.grad(lambda a: jd.losses.logistic(model.apply(params | {"a": a}, samples.x), samples.y))(params["a"])
    ours = theory.first_gradient(*(np.asarray(one) for one in (params["a"], params["c"], samples.x, samples.y)), 0.3)
    np.testing.assert_allclose(-2 * gradient, ours, atol=1e-8)


def test_the_assumption_by_hand():
    x = np.array([[1.0, 0.0], [0.1, 2.0]])
    found = theory.orthogonality(jd.data.points(x, np.array([1.0, -1.0])), 0.5)
    np.testing.assert_allclose(found, 1 / (3 * 8 * 4.01 * 2 * 0.1), rtol=1e-12)


def made_up(s):
    """Runs that are what theory says, on all data."""
    found, half = {}, s.width // 2
    for slope in (*s.slopes, 0.0):
        samples = theory.samples_of(s, slope)
        cells = {"flow": [], "descent": []}
        for kind, late in (("flow", s.decades * np.log(10)), ("descent", np.log(s.rate * s.steps))):
            for one in samples.values():
                x, y = np.asarray(one.x), np.asarray(one.y)
                if slope:
                    limit = theory.limit_of(one, slope)
                    limit = limit._replace(duals=np.maximum(limit.duals, 0.01))  # where theory says nothing the runs are anything
                    rows = theory.late_rows(one, slope, limit, np.full(s.seeds, late)) / np.sqrt(half)
                    inner = np.tile(rows, (1, half, 1))
                else:
                    starts = sweeps.starts_of(sweeps.flow_of(s, 0.0), s.seeds)
                    signs = np.where(np.arange(s.width) % 2 == 0, 1.0, -1.0)
                    inner = np.stack([theory.relu_end(start, signs, one, late) for start in starts])
                z = inner @ x.T
                signs = np.where(np.arange(s.width) % 2 == 0, 1.0, -1.0) / np.sqrt(s.width)
                outputs = np.einsum("j,sjx->sx", signs, np.where(z > 0, z, slope * z))
                margins = outputs * y
                log_loss = np.log(np.exp(late - margins).sum(1)) - late
                values = np.linalg.svd(inner, compute_uv=False)
                pairs = np.asarray([[theory.stable_rank(w[k::2]) for k in (0, 1)] for w in inner])
                time = s.rate * np.geomspace(1, s.steps, 12)
                size = 1 + np.log(time)
                ranks = 1 + 0.1 * size[None, :, None] ** -2.0 * np.ones((s.seeds, 1, 2)) if slope else np.tile(pairs[:, None], (1, 12, 1))
                cells[kind].append(
                    xr.Dataset(
                        {
                            "inner": (("seed", "hidden", "dim"), inner),
                            "outputs": (("seed", "sample"), outputs),
                            "late": ("seed", np.full(s.seeds, late)),
                            "outcome": ("seed", np.full(s.seeds, int(Outcome.stopped))),
                            "third_end": ("seed", values[:, 2] / values[:, 0]),
                            "spread_end": ("seed", margins.max(1) / margins.min(1) - 1),
                            "rank_end": ("seed", np.asarray([theory.stable_rank(w) for w in inner])),
                            "ranks_end": (("seed", "sign"), pairs),
                            "loss_end": ("seed", log_loss if kind == "flow" else np.exp(log_loss)),
                            "num_accepted_steps": ("seed", np.full(s.seeds, 10)),
                            "ranks": (("seed", "time", "sign"), ranks),
                            "size": (("seed", "time"), np.tile(size, (s.seeds, 1))),
                            "loss": (("seed", "time"), np.tile(3 / time, (s.seeds, 1))),
                        },
                        coords={"seed": np.arange(s.seeds), "time": time},
                    )
                )
        for kind, parts in cells.items():
            found[f"{kind}-{slope:g}"] = xr.concat(parts, "cell").assign_coords(cell=list(samples))
    for neurons, dim in s.sizes:
        start = 0.2 * neurons * np.ones((len(s.scales), s.seeds, 1))
        after = np.tile(claims_descent.predicted_step(s, neurons, dim), (len(s.scales), 1))[:, :, None] * np.ones(3)
        after[-1] = start[-1]
        found[f"step-{neurons}x{dim}"] = xr.Dataset({"rank": (("scale", "seed", "time"), np.concatenate([start, after], axis=2))})
    return found


@pytest.fixture(scope="module")
def runs():
    claims_flow.drawn_at_random.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims_flow, "DRAWS", 8)
        yield made_up(SMALL)
    claims_flow.drawn_at_random.cache_clear()


@pytest.fixture(scope="module")
def good(runs):
    return verdicts(claims.make_claims(SMALL, runs))


@pytest.mark.ci_slow
def test_claims_hold_of_runs_that_are_as_theory_says(runs, good):
    assert {name for name, word in good.items() if word not in ("holds", "loose")} <= {"beyond-d=5", "relu-constant", "one-step-constant"}
    assert good["assumption-0.5"] == "loose"
    rows = claims.make_table(SMALL, runs, [])
    assert {(row["run"], row["data"]) for row in rows} >= {("flow-0.5", "d=5"), ("descent-0", "orthonormal")}
    assert len({tuple(row) for row in rows}) == 1


@pytest.mark.parametrize(
    ("run", "changes", "failing"),
    [
        ("flow-0.3", {"third_end": lambda v: v + 1e-2}, {"rank-0.3", "beyond-d=100000"}),
        ("flow-0.3", {"spread_end": lambda v: v + 1e-3}, {"equal-0.3"}),
        ("flow-0.3", {"rank_end": lambda v: v * 1.001}, {"stable-rank-0.3"}),
        ("flow-0.3", {"outputs": lambda v: v + 0.5}, {"margins-0.3"}),
        ("flow-0.3", {"loss_end": lambda v: v + 0.5}, {"loss-0.3"}),
        ("descent-0.5", {"ranks": lambda v: 1 + (v - 1) ** 0.5}, {"descent-ranks-0.5"}),
        ("descent-0.5", {"outputs": lambda v: 1.1 * v}, {"descent-margins-0.5"}),
        ("descent-0.5", {"loss_end": lambda v: 1.3 * v}, {"descent-loss-0.5"}),
        ("flow-0", {"inner": lambda v: v + 0.01 * np.abs(v).max()}, {"relu-limit"}),
        ("flow-0", {"ranks_end": lambda v: 2.5 * v}, {"relu-ranks"}),
        ("descent-0", {"loss": lambda v: v**0.8}, {"relu-loss"}),
        ("step-16x40", {"rank": lambda v: v * 1.5}, {"one-step"}),
        ("step-8x20", {"rank": lambda v: v * np.array([1, 1, 1, 50])}, {"stays-low"}),
        ("step-16x40", {"rank": lambda v: v * np.array([1, 0.5, 0.5, 0.5])}, {"large-start"}),
    ],
)
def test_claims_fail_on_other_runs(runs, good, run, changes, failing):
    other = runs | {
        run: runs[run].assign({name: (runs[run][name].dims, change(runs[run][name].values)) for name, change in changes.items()})
    }
    now = verdicts(claims.make_claims(SMALL, other))
    changed = {name for name, word in now.items() if word in ("does not hold", "not tested") and good[name] != word}
    assert failing <= changed


def test_runs_that_are_lost_are_no_evidence(runs):
    lost = {name: ds.assign(outcome=ds["outcome"] * 0 + int(Outcome.max_steps)) for name, ds in runs.items() if not name.startswith("step")}
    now = verdicts(claims.make_claims(SMALL, runs | lost))
    assert not any(
        now[name] in ("holds", "loose") for name in now if not name.startswith(("assumption", "one-", "stays", "large", "relu-con"))
    )
    assert len(claims.make_table(SMALL, runs | lost, [])) > 8


def test_a_bent_boundary_and_unequal_neurons_are_seen(runs):
    ds = runs["flow-0.5"]
    bent = ds["inner"].values.copy()
    bent[:, :, 0] = 5 * np.roll(bent[:, :, 0], 1, axis=-1)
    now = verdicts(claims.make_claims(SMALL, runs | {"flow-0.5": ds.assign(inner=(ds["inner"].dims, bent))}))
    assert now["boundary-0.5"] == now["limit-0.5"] == "does not hold"


def test_claims_about_a_bound_fail_above_it(runs):
    ds = runs["flow-0.3"]
    now = verdicts(claims.make_claims(SMALL, runs | {"flow-0.3": ds.assign(outputs=ds["outputs"] / 2)}))
    assert now["approximate-margin-0.3"] == "does not hold"


@pytest.mark.slow
def test_a_small_run(tmp_path):
    found = lab.run(SMALL, slopes=(0.5,), decades=60.0, out=tmp_path, progress=False)
    words = verdicts(found.claims)
    for name in (
        "rank-0.5",
        "equal-0.5",
        "boundary-0.5",
        "stable-rank-0.5",
        "limit-0.5",
        "margins-0.5",
        "loss-0.5",
        "relu-limit",
        "one-step",
    ):
        assert words[name] == "holds", name
    assert words["descent-margins-0.5"] == words["stays-low"] == words["large-start"] == "holds"
    assert all(np.fromfile(path, np.uint8).size > 1000 for path in found.paths.values() if path.endswith(("png", "svg", "json")))
    again = lab.run(SMALL, slopes=(0.5,), decades=60.0, out=tmp_path, progress=False)
    assert verdicts(again.claims) == words


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": 1}, "at least 2"),
        ({"slopes": (0.5, 0.1)}, "in rising order"),
        ({"slopes": (0.0,)}, "above 0 and below 1"),
        ({"samples": 7}, "even"),
        ({"width": 5}, "even"),
        ({"dims": (100, 400)}, "in falling order"),
        ({"hard": 200}, "below all"),
        ({"sizes": ((8, 20),)}, "2 or more pairs"),
        ({"scales": (0.1, 0.01)}, "in rising order"),
        ({"start": 1.0}, "above 0 and below 0.01"),
        ({"decades": 5.0}, "at least 10"),
        ({"rate": 2.0}, "above 0 and at most 1"),
    ],
)
def test_settings_that_make_no_sense(changes, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(lab.Settings(), **changes)


@pytest.mark.ci_slow
def test_it_runs_from_end_to_end_at_its_smallest_settings(end_to_end):
    end_to_end("low-rank-leaky")
