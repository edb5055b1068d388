"""Vmap, jit, forward derivatives, and what does not compile again."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.solve import LossBelow

DATA = jd.data.sinusoid(6)
MODEL = jd.models.TwoLayer(width=3, activation="tanh")
FLOW = jd.flows.GradientFlow(MODEL, jd.losses.square, DATA, weight_decay=0.01)
START = MODEL.init(jr.key(0))
TRACES = []


def loss(flow, t, y):
    return flow.loss(y)


def counting_loss(f, y):
    TRACES.append(1)
    return 0.5 * jnp.sum((f - y) ** 2)


FLAT, UNRAVEL = ravel_pytree(START)
STARTS = FLAT[None] + jnp.asarray(np.random.default_rng(0).normal(size=(3, FLAT.size)))
RTOLS, T1S, DECAYS = jnp.asarray([1e-6, 1e-8, 1e-9]), jnp.asarray([1.0, 3.0, 0.5]), jnp.asarray([0.0, 0.1, 1.0])


def run(flat, rtol, t1, decay):
    flow = eqx.tree_at(lambda f: f.weight_decay, FLOW, decay)
    return jd.solve(flow, UNRAVEL(flat), t1=t1, rtol=rtol, record=4, observe={"loss": loss})


def end(flat, t1, decay):
    return ravel_pytree(run(flat, 1e-10, t1, decay).params)[0]


@pytest.mark.ci_slow
def test_vmap_over_seeds_settings_and_hyper_parameters():
    many = jax.jit(jax.vmap(run))(STARTS, RTOLS, T1S, DECAYS)
    np.testing.assert_array_equal(many.outcome, 1)
    np.testing.assert_array_equal(many.t, T1S)
    for k in range(3):
        alone = run(STARTS[k], RTOLS[k], T1S[k], DECAYS[k])
        for name in "abc":
            np.testing.assert_allclose(many.params[name][k], alone.params[name], rtol=0, atol=1e-11)
        np.testing.assert_allclose(many.observed["loss"][k], alone.observed["loss"], rtol=1e-9)
        assert int(many.certificate.num_accepted_steps[k]) == int(alone.certificate.num_accepted_steps)


def test_jit_and_going_on_inside_it():
    @jax.jit
    def twice(params):
        first = jd.solve(FLOW, params, t1=1.0, rtol=1e-9, record=2)
        return jd.solve(FLOW, first, t1=3.0, rtol=1e-9, record=[1.5, 3.0])

    sol, plain = twice(START), run(FLAT, 1e-9, 3.0, FLOW.weight_decay).params
    assert sol.fate.name == "t1_reached"
    np.testing.assert_array_equal(sol.ts, [1.5, 3.0])
    for name in "abc":
        np.testing.assert_allclose(sol.params[name], plain[name], rtol=0, atol=1e-8)


@pytest.mark.ci_slow
def test_forward_derivatives_of_vmapped_lanes():
    """With respect to the start, the end time and a setting of the flow, against central differences; d/dt1 is the field."""
    lanes = jax.jit(jax.vmap(end))
    derivative = jax.jit(jax.vmap(lambda point, tangent: jax.jvp(end, point, tangent)[1]))
    point = (STARTS, T1S, DECAYS)
    rest, h = [jnp.zeros_like(part) for part in point], 1e-4
    for part in range(3):
        direction = jnp.asarray(np.random.default_rng(part).normal(size=point[part].shape))
        tangent = (*rest[:part], direction, *rest[part + 1 :])
        up, down = (lanes(*[p + s * h * d for p, d in zip(point, tangent, strict=True)]) for s in (1, -1))
        difference = (up - down) / (2 * h)
        assert np.abs(difference).max() > 0.03
        np.testing.assert_allclose(derivative(point, tangent), difference, rtol=0, atol=2e-6)
    flow = eqx.tree_at(lambda f: f.weight_decay, FLOW, DECAYS[1])
    by_time = derivative(point, (rest[0], jnp.ones(3), rest[2]))[1]
    velocity = flow.vector_field(0.0, UNRAVEL(lanes(*point)[1]))
    np.testing.assert_allclose(by_time, ravel_pytree(velocity)[0], rtol=0, atol=1e-7)


@pytest.mark.ci_slow
def test_changed_numbers_do_not_trace_again():
    def flow(init_scale=1.0, time_scale=1.0, decay=0.1):
        model = jd.models.TwoLayer(width=3, activation="tanh", init_scale=init_scale)
        scales = {"a": time_scale, "b": 1.0, "c": 1.0}
        return jd.flows.GradientFlow(model, counting_loss, DATA, time_scales=scales, weight_decay=decay)

    def run(flow, seed=0, t1=1.0, threshold=1e-9, **settings):
        TRACES.clear()
        params = flow.model.init(jr.key(seed))
        return jd.solve(flow, params, t1=t1, record=4, stop=LossBelow(threshold), observe={"loss": loss}, **settings), len(TRACES)

    first, traces = run(flow())
    assert traces > 0
    for changed in [
        run(flow(), rtol=1e-8),
        run(flow(), rtol=1e-8, atol=1e-3),
        run(flow(), t1=2),
        run(flow(), t1=jnp.asarray(0.5)),
        run(flow(init_scale=3)),
        run(flow(time_scale=0.1)),
        run(flow(decay=1)),
        run(flow(), seed=1),
        run(flow(), threshold=0),
        run(flow(), max_steps=5000),
        run(flow(), norm_bound=1e5),
        run(flow(), t0=0.5),
    ]:
        sol, traces = changed
        assert traces == 0
        assert sol.params["a"].shape == (3, 1)
