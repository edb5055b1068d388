"""Every observable recorded along one solve."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn import measure

pytestmark = pytest.mark.ci_slow

DATA = jd.data.sinusoid(5)
TEST = jd.data.sinusoid(9)
FLOW = jd.flows.GradientFlow(jd.models.TwoLayer(12), jd.losses.square, DATA)
START = eqx.filter_jit(FLOW.init)(jr.key(0))
WITHOUT_START = {
    "loss": measure.loss,
    "outputs": measure.outputs,
    "gradient": measure.gradient_norm,
    "test": measure.held_out_loss(TEST),
    "grid": measure.function_on(TEST.x),
    "kernel": measure.ntk,
    "norm": measure.parameter_norm,
    "conserved": measure.conserved,
    "balance": measure.balancedness,
    "knots": measure.knots,
    "near": partial(measure.weight_near_samples, radius=0.1),
    "linear": measure.linear_spline_distance(DATA),
    "cubic": measure.cubic_spline_distance(DATA),
    "rank": measure.stable_rank,
    "effective_rank": measure.effective_rank,
    "rank_one": measure.rank_one_share,
    "singular": measure.singular_values,
    "shares": measure.layer_shares,
    "angles": measure.neuron_angles,
    "correlation": measure.correlation,
    "cosine": measure.correlation_cosine,
    "kkt": measure.correlation_kkt_residual,
}
WITH_START = {
    "kernel_change": measure.ntk_change,
    "small": partial(measure.ntk_change, memory=1000),
    "distance": measure.parameter_distance,
    "drift": measure.conserved_drift,
    "movement": measure.knot_movement,
}


@pytest.fixture(scope="module")
def solution():
    return jd.solve(FLOW, START, 2.0, record=[0.0, 0.5, 2.0], observe=WITHOUT_START | WITH_START)


def evaluate(params, start=START):
    values = {name: observable(FLOW, jnp.zeros(()), params) for name, observable in WITHOUT_START.items()}
    return values | {name: observable(FLOW, jnp.zeros(()), params, start) for name, observable in WITH_START.items()}


def test_jit_and_vmap_give_what_was_recorded_and_nan_stays_in_its_lane(solution):
    lanes = jax.tree.map(lambda leaf: jnp.concatenate([leaf, jnp.full_like(leaf[:1], jnp.nan)]), solution.states)
    for name, values in jax.jit(jax.vmap(evaluate))(lanes).items():
        np.testing.assert_allclose(values[:3], solution.observed[name], rtol=1e-9, atol=1e-12, err_msg=name)
        assert np.all(np.isnan(values[3])), name


def test_every_observable_keeps_the_dtype_of_the_params():
    single = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), START)
    for name, value in jax.eval_shape(evaluate, single, single).items():
        assert value.dtype == jnp.float32, name


def test_what_starts_at_zero_does_and_grows(solution):
    for name in WITH_START:
        # the start's kernel is compiled by itself, that of the records as a batch
        assert solution.observed[name][0] <= (1e-15 if "kernel" in name or name == "small" else 0) and solution.observed[name][-1] > 0
    assert solution.observed["drift"][-1] < 1e-5
    assert min(solution.observed[name][-1] for name in ("kernel_change", "distance", "movement")) > 1e-3
    K = np.asarray(solution.observed["kernel"])
    np.testing.assert_allclose(solution.observed["kernel_change"], [np.linalg.norm(k - K[0]) / np.linalg.norm(K[0]) for k in K], rtol=1e-9)


def test_loss_decreases_along_records(solution):
    assert np.all(np.diff(solution.observed["loss"]) < 0)
