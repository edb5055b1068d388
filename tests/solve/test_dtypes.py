"""What a flow computes with has the dtype of its parameters: nothing complex, no integers, and no fewer digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.flows import GradientFlow

DATA = jd.data.points([1.0, 2.0], [0.5, -0.5])


class Flow:
    def __init__(self, velocity=lambda y: -y, loss=lambda y: jnp.sum(y**2)):
        self.velocity, self.value = velocity, loss

    def vector_field(self, t, y, args):
        return jax.tree.map(self.velocity, y)

    def loss(self, y):
        return sum(self.value(leaf) for leaf in jax.tree.leaves(y))


@pytest.mark.parametrize(
    ("flow", "sentence"),
    [
        (Flow(lambda y: 1j * y), "the velocity must be made of real floats"),
        (Flow(lambda y: -y + 0j), "the velocity must be made of real floats"),
        (Flow(lambda y: jnp.sign(y).astype(int)), "the velocity must be made of real floats"),
        (Flow(lambda y: y > 0), "the velocity must be made of real floats"),
        (Flow(lambda y: -y.astype("float32")), "computed in float32 while the parameters are float64"),
        (Flow(loss=lambda y: jnp.sum(y**2) + 0j), "the loss must be made of real floats"),
        (Flow(loss=lambda y: jnp.sum(y > 0)), "the loss must be made of real floats"),
        (Flow(loss=lambda y: jnp.sum(y.astype("float32"))), "computed in float32 while the parameters are float64"),
    ],
)
def test_what_is_refused(flow, sentence):
    for start in (jnp.ones(2), {"a": jnp.ones(()), "b": jnp.ones((2, 1))}):
        with pytest.raises(ValueError, match=sentence) as error:
            jd.solve(flow, start, t1=1.0)
        assert "\n" not in str(error.value)


def test_one_leaf_of_several():
    flow = Flow()
    flow.vector_field = lambda t, y, args: {"a": -y["a"], "b": -y["b"] * 1j}
    with pytest.raises(ValueError, match="complex128"):
        jd.solve(flow, {"a": jnp.ones(2), "b": jnp.ones(2)}, t1=1.0)


class Steps(Flow):
    """Makes its own steps, each by `update`."""

    def __init__(self, update):
        super().__init__()
        self.update = update

    def begin(self, y, key):
        return jnp.zeros(())

    def rate(self, y, state):
        return jnp.asarray(0.1)


@pytest.mark.parametrize(
    ("update", "sentence"),
    [
        (lambda y, state: (y + 1j * y, state), "must return the parameters as it gets them, float64"),
        (lambda y, state: (y, state + 1j), "must return the state as it gets them, float64"),
        (lambda y, state: (y[:1], state), "must return the parameters"),
        (lambda y, state: (y, (state, state)), "must return the state"),
        (lambda y, state: y, "a pair"),
    ],
)
def test_steps_that_change_their_kind(update, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        jd.solve(Steps(update), jnp.ones(3), t1=1.0)
    assert "\n" not in str(error.value)


def test_complex_conserved_quantities():
    flow = Flow()
    flow.conserved = lambda y: y + 1j
    with pytest.raises(ValueError, match="conserved.* must be real"):
        jd.solve(flow, jnp.ones(2), t1=1.0)


def test_more_digits_and_weak_types_are_rounded_to_those_of_the_parameters():
    for flow, start in (
        (Flow(lambda y: -y.astype("float64")), jnp.ones(2, "float32")),
        (Flow(lambda y: -jnp.full(y.shape, 1.0) * y), jnp.ones(2)),
        (Flow(lambda y: -y), jnp.full(2, 1.0)),
    ):
        sol = jd.solve(flow, start, t1=1.0, record=2)
        assert sol.params.dtype == start.dtype
        np.testing.assert_allclose(sol.params, np.exp(-1.0), rtol=1e-4)


def test_complex_outputs_of_a_network():
    rotating = GradientFlow(lambda p, x: jnp.exp(1j * p["w"] * x[:, 0]), lambda f, y: jnp.sum(jnp.abs(f - y) ** 2), DATA)
    for solver in (None, jd.KernelExponential()):
        with pytest.raises(ValueError, match="complex outputs"):
            jd.solve(rotating, {"w": jnp.ones(())}, t1=1.0, solver=solver)
    # real and imaginary parts as outputs of their own: 1/2 sum (cos wx - y)^2 + (sin wx)^2 has the gradient sum y x sin wx
    both = jd.data.points([1.0, 2.0], np.stack([[0.5, -0.5], [0.0, 0.0]], axis=1))
    flow = GradientFlow(lambda p, x: jnp.stack([jnp.cos(p["w"] * x[:, 0]), jnp.sin(p["w"] * x[:, 0])], axis=1), jd.losses.square, both)
    w = 0.9
    expected = -(0.5 * np.sin(w) - 0.5 * 2 * np.sin(2 * w))
    np.testing.assert_allclose(flow.vector_field(0.0, {"w": jnp.asarray(w)})["w"], expected, rtol=1e-12)
