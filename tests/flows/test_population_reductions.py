"""Population flows in two coordinates against the flow of all weights, and against known times."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn.flows import IdentityLinkFlow, OrderParameterFlow, PolarTeacherFlow, PopulationFlow, SymmetricTeacherFlow

pytestmark = pytest.mark.ci_slow

RNG = np.random.default_rng(2)


def relu_student(width, dim):
    return jd.models.TwoLayer(width, dim, False, "relu", "one", "a")


def pair(x, y, names=("x", "y")):
    return dict(zip(names, map(jnp.asarray, (x, y)), strict=True))


def lifted(y, teacher):
    """w_j = x w_j* + y sum of the others."""
    number = len(teacher)
    return {"a": (y["x"] * jnp.eye(number) + y["y"] * (1 - jnp.eye(number))) @ teacher, "c": jnp.ones(number)}


def orthonormal(number, dim):
    return jnp.asarray(np.linalg.qr(RNG.normal(size=(dim, dim)))[0][:number])


@pytest.mark.parametrize(("number", "time", "largest"), [pytest.param(2, 8.83, 0.39767, marks=pytest.mark.slow), (5, 4.245, 0.18914)])
def test_from_nearly_zero_to_the_teachers(number, time, largest):
    """The time until (x-1)^2 + (K-1) y^2 < 1e-2 from (1e-3, 0), the largest y on the way, and the flow of all weights beside it."""
    flow, teacher, start = SymmetricTeacherFlow(number), orthonormal(number, number + 1), pair(1e-3, 0.0)
    full = PopulationFlow(relu_student(number, number + 1), teacher)
    settings = {"t1": 12.0, "rtol": 1e-11, "record": 2001}
    solution, both = jd.solve(flow, start, **settings), jd.solve(full, lifted(start, teacher), **settings)
    x, y = np.asarray(solution.states["x"]), np.asarray(solution.states["y"])
    left = np.log((x - 1) ** 2 + (number - 1) * y**2)
    after = np.argmax(left < np.log(1e-2))
    crossing = np.interp(np.log(1e-2), left[[after, after - 1]], np.asarray(solution.ts)[[after, after - 1]])
    np.testing.assert_allclose(crossing, time, rtol=0, atol=6e-3 if number == 2 else 6e-4)
    np.testing.assert_allclose(y.max(), largest, rtol=0, atol=1e-5)
    expected = jax.vmap(lambda state: lifted(state, teacher)["a"])(solution.states)
    np.testing.assert_allclose(both.states["a"], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("number", [2, 3, 7])
def test_symmetric_field_loss_and_saddle(number):
    flow, teacher = SymmetricTeacherFlow(number), orthonormal(number, number)
    full = PopulationFlow(relu_student(number, number), teacher)

    @jax.jit
    def compare(y):
        tangent = lifted(flow.vector_field(0.0, y), teacher)["a"]
        return (
            flow.vector_field(0.0, y),
            jax.grad(flow.loss)(y),
            flow.loss(y) - full.loss(lifted(y, teacher)),
            tangent - full.vector_field(0.0, lifted(y, teacher))["a"],
        )

    for place in ((0.3, 0.2), (0.2, 0.2), (1.0, 0.0), (0.7, -0.4), (-0.5, 0.1), (0.4, 1e-9), (0.4, 0.4 + 1e-9), (0.0, 0.0)):
        velocity, gradient, loss, field = compare(pair(*place))
        np.testing.assert_allclose(loss, 0.0, atol=1e-14 * number**2)
        np.testing.assert_allclose(field, 0.0, atol=1e-14 * number)
        if place != (0.0, 0.0):
            np.testing.assert_allclose(gradient["x"], -number * velocity["x"], rtol=0, atol=1e-13)
            np.testing.assert_allclose(gradient["y"], -number * (number - 1) * velocity["y"], rtol=0, atol=2e-13)
    saddle = (np.sqrt(number - 1) - np.arccos(1 / np.sqrt(number)) + np.pi) / (np.pi * number)
    at_saddle = jax.jacfwd(lambda z: jnp.stack(list(flow.vector_field(0.0, pair(z[0], z[1])).values())))(jnp.full(2, saddle))
    assert max(abs(v) for v in compare(pair(saddle, saddle))[0].values()) < 1e-15
    assert np.linalg.det(at_saddle) < -1e-3
    onto = jd.solve(flow, pair(0.1, 0.1), t1=60.0, rtol=1e-10).params
    np.testing.assert_allclose([onto["x"], onto["y"]], saddle, atol=1e-8)


def test_derivatives_of_the_symmetric_flow_at_the_teachers():
    """The field's Jacobian at (1, 0), where theta and phi are at their kinks, by the full flow's."""
    number = 4
    flow, teacher = SymmetricTeacherFlow(number), orthonormal(number, number)
    full = PopulationFlow(relu_student(number, number), teacher)
    for place in ((1.0, 0.0), (0.3, 0.3), (0.5, 0.0)):
        jacobian = jax.jacfwd(lambda y: flow.vector_field(0.0, y))(pair(*place))

        def of_full(y):
            return full.vector_field(0.0, lifted(y, teacher))["a"] @ teacher.T

        expected = jax.jit(jax.jacfwd(of_full))(pair(*place))
        for by in ("x", "y"):
            np.testing.assert_allclose([jacobian["x"][by], jacobian["y"][by]], expected[by][0, :2], rtol=0, atol=1e-13)


def test_one_neuron_in_polar_coordinates():
    flow, teacher = PolarTeacherFlow(4, teacher_norm=1.3), jnp.asarray([[1.3, 0.0, 0.0, 0.0]])
    full = PopulationFlow(relu_student(1, 4), teacher)
    start = pair(0.02, 3.0, ("r", "theta"))

    def vector(y):
        return {"a": jnp.stack([y["r"] * jnp.cos(y["theta"]), y["r"] * jnp.sin(y["theta"]), 0.0, 0.0])[None], "c": jnp.ones(1)}

    settings = {"t1": 15.0, "rtol": 1e-11, "record": 31}
    solution, both = jd.solve(flow, start, **settings), jd.solve(full, vector(start), **settings)
    np.testing.assert_allclose(both.states["a"], jax.vmap(vector)(solution.states)["a"], rtol=0, atol=1e-9)
    assert np.diff(solution.states["theta"]).max() < 0
    assert solution.params["theta"] < 0.05
    velocity, gradient = flow.vector_field(0.0, start), jax.grad(flow.loss)(start)
    np.testing.assert_allclose(velocity["r"], -gradient["r"], rtol=1e-13)
    np.testing.assert_allclose(velocity["theta"], -gradient["theta"] / start["r"] ** 2, rtol=1e-12)
    np.testing.assert_allclose(flow.loss(start), full.loss(vector(start)), rtol=1e-13)
    assert not any(flow.vector_field(0.0, pair(0.0, 1.0, ("r", "theta"))).values())


def test_starts():
    key = jr.key(3)
    polar = PolarTeacherFlow(5, init_scale=0.1)
    vectors = 0.1 * jr.normal(key, (5,))
    np.testing.assert_allclose(polar.init(key)["r"], np.linalg.norm(vectors), rtol=1e-14)
    np.testing.assert_allclose(np.cos(polar.init(key)["theta"]), vectors[0] / np.linalg.norm(vectors), rtol=1e-13)
    starts = jax.vmap(SymmetricTeacherFlow(3, init_scale=0.2).init)(jr.split(key, 4000))
    np.testing.assert_allclose([starts["x"].std(), starts["y"].std(), np.mean(starts["x"] * starts["y"])], [0.2, 0.2, 0.0], atol=0.01)


ERF = PopulationFlow(jd.models.TwoLayer(2, 3, False, "erf"), np.ones((1, 3)))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: SymmetricTeacherFlow(0), "integer of at least 2"),
        (lambda: SymmetricTeacherFlow(2.5), "integer of at least 2"),
        (lambda: PolarTeacherFlow(1), "dim of at least 2"),
        (lambda: PolarTeacherFlow(3, teacher_norm=0.0), "teacher_norm=0.0 must be positive and finite"),
        (lambda: IdentityLinkFlow(np.zeros((2, 3))), "square matrix"),
        (lambda: IdentityLinkFlow(-np.eye(3)), "neuron 0 of the teacher is zero"),
        (lambda: OrderParameterFlow(PopulationFlow(relu_student(2, 3), np.ones((1, 3)))), "smooth activations"),
        (lambda: OrderParameterFlow(PopulationFlow(jd.models.TwoLayer(2, 3, True, "erf"), np.ones((1, 3)))), "bias=False"),
        (lambda: OrderParameterFlow(PopulationFlow(ERF.model, ERF.teacher, covariance=np.eye(3))), "leave out covariance"),
    ],
)
def test_misuse_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
