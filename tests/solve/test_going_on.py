"""Pausing, saving, loading and going on."""

import json

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from formula_flows import FormulaFlow, LinearFlow

import jaxdyn as jd
from jaxdyn.solve import LossBelow, Outcome, load_solution

pytestmark = pytest.mark.usefixtures("optimised")

DATA = jd.data.sinusoid(6)
MODEL = jd.models.TwoLayer(width=3, activation="tanh")
FLOW = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA)
START = MODEL.init(jr.key(0))


def loss(flow, t, y):
    return flow.loss(y)


SETTINGS = {"t1": 30.0, "rtol": 1e-7, "record": 5, "observe": {"loss": loss}}


@pytest.fixture(scope="module")
def whole():
    return jd.solve(FLOW, START, **SETTINGS)


@pytest.fixture(scope="module")
def half(whole):
    return jd.solve(FLOW, START, max_steps=int(whole.certificate.num_accepted_steps) // 2, **SETTINGS)


def assert_same_bits(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.ci_slow
def test_a_paused_lane_goes_on_to_the_same_bits(whole, half):
    assert half.fate is Outcome.max_steps
    assert 0 < float(half.t) < 30.0
    rest = jd.solve(FLOW, half, **SETTINGS)
    assert rest.fate is Outcome.t1_reached
    assert_same_bits((rest.params, rest.t, rest.certificate, rest.state), (whole.params, whole.t, whole.certificate, whole.state))
    assert rest.ts[0] == half.t
    np.testing.assert_array_equal(rest.observed["loss"][-1], whole.observed["loss"][-1])


def test_saved_loaded_and_gone_on_to_the_same_bits(whole, half, tmp_path):
    path = tmp_path / "lane.npz"
    half.save(path)
    loaded = load_solution(path, FLOW, observe={"loss": loss})
    assert_same_bits(loaded, half)
    assert (loaded.fate, loaded.method, loaded.convention) == (half.fate, half.method, half.convention)
    rest = jd.solve(FLOW, loaded, **SETTINGS)
    assert_same_bits((rest.params, rest.certificate), (whole.params, whole.certificate))
    assert [p.name for p in tmp_path.iterdir()] == ["lane.npz"]


def test_going_on_to_a_later_time_agrees_to_the_tolerance(whole):
    longer = jd.solve(FLOW, whole, **SETTINGS | {"t1": 60.0})
    straight = jd.solve(FLOW, START, **SETTINGS | {"t1": 60.0})
    assert (longer.fate, float(longer.t), float(longer.ts[0])) == (Outcome.t1_reached, 60.0, 30.0)
    for name in "abc":
        np.testing.assert_allclose(longer.params[name], straight.params[name], rtol=0, atol=1e-6)
    assert longer.certificate.num_accepted_steps > whole.certificate.num_accepted_steps
    assert longer.certificate.loss_start == whole.certificate.loss_start


@pytest.mark.ci_slow
def test_going_on_after_a_stop_rule():
    flow, start = FormulaFlow("decay"), {"y": jnp.ones(2)}
    stopped = jd.solve(flow, start, t1=3.0, record=2, stop=LossBelow(0.5))
    assert stopped.fate is Outcome.stopped
    done = jd.solve(flow, stopped, t1=3.0, record=2)
    assert done.fate is Outcome.t1_reached
    np.testing.assert_allclose(done.params["y"], np.exp(-3.0), rtol=1e-5)


def test_a_lane_of_recorded_steps_goes_on_for_4096_more():
    flow, start = FormulaFlow("decay"), {"y": jnp.ones(2)}
    first = jd.solve(flow, start, t1=1.0, record=2, controller=dfx.ConstantStepSize(), dt0=2e-4)
    n = int(first.certificate.num_accepted_steps)
    assert n == 5000
    second = jd.solve(flow, first, t1=1.1, record="steps", controller=dfx.ConstantStepSize(), dt0=2e-4)
    ts = np.asarray(second.ts)
    assert ts.shape == (4097,)
    ts = ts[np.isfinite(ts)]
    assert (ts[0], ts[-1], ts.size) == (1.0, 1.1, int(second.certificate.num_accepted_steps) - n + 1)
    np.testing.assert_allclose(second.states["y"][: ts.size, 0], np.exp(-ts), rtol=1e-5)


@pytest.mark.parametrize("name", ["square", "nan"])
def test_a_dead_lane_cannot_go_on(name):
    flow = FormulaFlow(name)
    dead = jd.solve(flow, {"y": jnp.ones(2)}, t1=3.0, record=2)
    with pytest.raises(ValueError, match=f"ended as {dead.fate.name} and cannot go on"):
        jd.solve(flow, dead, t1=4.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"solver": dfx.Dopri8()}, "was solved by Tsit5, PIDController, plain stepping, not Dopri8"),
        ({"controller": dfx.ConstantStepSize(), "dt0": 0.1}, "not Tsit5, ConstantStepSize"),
        ({"t1": 20.0}, "must be a time after t0=30"),
        ({"record": [10.0, 40.0]}, "must lie between t0=30 and t1=40"),
    ],
)
def test_going_on_with_what_does_not_fit(whole, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        jd.solve(FLOW, whole, **{"t1": 40.0, "record": 5} | settings)


def test_several_lanes_are_not_one(whole):
    lanes = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), whole)
    with pytest.raises(ValueError, match=r"several lanes: go on with jax\.vmap"):
        jd.solve(FLOW, lanes, t1=40.0)


class TestFiles:
    @pytest.fixture
    def path(self, half, tmp_path):
        half.save(tmp_path / "lane.npz")
        return tmp_path / "lane.npz"

    def load(self, path, flow=FLOW, observe=None, **settings):
        return load_solution(path, flow, observe={"loss": loss} if observe is None else observe, **settings)

    def test_absent(self, tmp_path):
        with pytest.raises(ValueError, match="there is no solution at"):
            self.load(tmp_path / "nothing.npz")

    @pytest.mark.parametrize("keep", [0, 10, 1000, -30])
    def test_truncated(self, path, keep):
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(ValueError, match="is not a whole solution file"):
            self.load(path)

    def test_not_ours(self, path):
        np.savez(path, a=np.ones(3))
        with pytest.raises(ValueError, match="is not a whole solution file"):
            self.load(path)
        np.savez(path, about=np.asarray(json.dumps({"method": "another"})), leaf_0000=np.ones(3))
        with pytest.raises(ValueError, match="is not a whole solution file"):
            self.load(path)

    @pytest.mark.parametrize("width", [1, 2, 4])
    def test_other_width(self, path, width):
        model = jd.models.TwoLayer(width=width, activation="tanh")
        with pytest.raises(ValueError, match="another network"):
            self.load(path, jd.flows.GradientFlow(model, jd.losses.square, DATA))

    def test_other_kind_of_network(self, path):
        with pytest.raises(ValueError, match="another network"):
            self.load(path, jd.flows.GradientFlow(jd.models.MLP((3,), activation="tanh"), jd.losses.square, DATA))

    def test_other_observables(self, path):
        for observe in ({}, {"drift": loss}, {"loss": loss, "drift": loss}):
            with pytest.raises(ValueError, match=r"other observables \(loss\)"):
                self.load(path, observe=observe)

    def test_other_loss_and_so_another_time(self, path):
        with pytest.raises(ValueError, match="was solved under the loss"):
            self.load(path, jd.flows.GradientFlow(MODEL, jd.losses.mean_square, DATA))

    def test_other_solver(self, path):
        with pytest.raises(ValueError, match="was solved by Tsit5, PIDController"):
            self.load(path, solver=dfx.Heun())

    def test_other_precision(self, path):
        single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), START)
        with pytest.raises(ValueError, match="another network"):
            self.load(path, like=single)

    def test_a_flow_without_a_start_needs_the_shapes(self, tmp_path):
        flow, start = FormulaFlow("decay"), {"y": jnp.ones(2)}
        sol = jd.solve(flow, start, t1=1.0, record=2)
        sol.save(tmp_path / "formula.npz")
        with pytest.raises(ValueError, match="like=params"):
            load_solution(tmp_path / "formula.npz", flow)
        assert_same_bits(load_solution(tmp_path / "formula.npz", flow, like=start), sol)

    def test_saving_replaces(self, path, half, whole):
        whole.save(path)
        assert self.load(path).fate is Outcome.t1_reached
        assert np.isfinite(self.load(path).observed["loss"]).all()

    def test_named_controllers(self, tmp_path):
        flow = LinearFlow(jnp.eye(2))
        how = {"solver": dfx.Heun(), "controller": dfx.ConstantStepSize(), "dt0": 0.1}
        sol = jd.solve(flow, jnp.ones(2), t1=1.0, record=2, **how)
        sol.save(tmp_path / "heun.npz")
        assert_same_bits(load_solution(tmp_path / "heun.npz", flow, **how), sol)
