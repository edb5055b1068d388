"""The population flow of ReLU networks against 240 digits: J by its closed form, its derivatives by differences of that."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdyn as jd
from jaxdyn.flows import PopulationFlow

pytestmark = pytest.mark.ci_slow

DIGITS = 240
"""Second differences with steps of 1e-30 of the vectors' length leave enough of them."""


def relu_kernel(u, v):
    """E[relu(u.x) relu(v.x)] (Cho & Saul 2009, eq. 6)."""
    size = mp.sqrt(mp.fdot(u, u) * mp.fdot(v, v))
    if size == 0:
        return mp.mpf(0)
    cosine = mp.fdot(u, v) / size
    theta = mp.acos(max(min(cosine, mp.mpf(1)), mp.mpf(-1)))
    return size * (mp.sin(theta) + (mp.pi - theta) * cosine) / (2 * mp.pi)


class Judge:
    """J, its gradient and its Hessian by a student's matrix, with the sums of the absolute terms that they are made of."""

    def __init__(self, w, v, outer, teacher_outer):
        with mp.workdps(DIGITS):
            w, v = ([[mp.mpf(float(x)) for x in row] for row in matrix] for matrix in (w, v))
            # an exactly parallel or antiparallel pair stays so: doubles are exact in mpmath
            self.rows, self.dim = len(w), len(w[0])
            self.weights = [mp.mpf(float(m)) for m in (*outer, *(-teacher_outer))]
            self.w, self.v = w, v
            self.step = mp.mpf(10) ** -30 * min(1, *(mp.sqrt(mp.fdot(row, row)) or 1 for row in w))
            self.value, self.terms = self.of(w)
            self.gradient, self.hessian = self.differences()

    def of(self, w):
        units, total, terms = w + self.v, mp.mpf(0), mp.mpf(0)
        for p, left in enumerate(units):
            for q, right in enumerate(units):
                term = self.weights[p] * self.weights[q] * relu_kernel(left, right) / 2
                total, terms = total + term, terms + abs(term)
        return total, terms

    def moved(self, *shifts):
        w = [list(row) for row in self.w]
        for index, by in shifts:
            w[index // self.dim][index % self.dim] += by * self.step
        return self.of(w)[0]

    def differences(self):
        size, h = self.rows * self.dim, self.step
        up, down = [self.moved((i, 1)) for i in range(size)], [self.moved((i, -1)) for i in range(size)]
        gradient = [(a - b) / (2 * h) for a, b in zip(up, down, strict=True)]
        hessian = np.zeros((size, size))
        for i in range(size):
            for j in range(i + 1):
                # the plain second difference, symmetrised: J is twice differentiable, no more, where vectors are parallel
                both = self.moved((i, 1), (j, 1)) + self.moved((i, -1), (j, -1)) - up[i] - up[j] - down[i] - down[j] + 2 * self.value
                hessian[i, j] = hessian[j, i] = float(both / (2 * h**2))
        return np.array([float(g) for g in gradient]), hessian


@jax.jit
def computed(flow, params):
    def on_a(function):
        return lambda a: function(params | {"a": a})

    field = on_a(lambda y: flow.vector_field(0.0, y)["a"])
    size = params["a"].size
    return {
        "value": flow.loss(params),
        "gradient": -field(params["a"]).ravel(),
        "gradient of loss": jax.grad(on_a(flow.loss))(params["a"]).ravel(),
        "hessian": jax.hessian(on_a(flow.loss))(params["a"]).reshape(size, size),
        "forward": -jax.jacfwd(field)(params["a"]).reshape(size, size),
        "reverse": -jax.jacrev(field)(params["a"]).reshape(size, size),
    }


def errors(w, v, outer=None, teacher_outer=None):
    """Errors of J over the sum of its |terms|, of the gradient over the vectors' lengths, of the Hessian over |v|/|w|."""
    w, v = np.asarray(w, float), np.asarray(v, float)
    outer = np.ones(len(w)) if outer is None else np.asarray(outer)
    teacher_outer = np.ones(len(v)) if teacher_outer is None else np.asarray(teacher_outer)
    judge = Judge(w, v, outer, teacher_outer)
    model = jd.models.TwoLayer(len(w), w.shape[1], False, "relu", "one", "a")
    got = computed(PopulationFlow(model, {"a": v, "c": teacher_outer}), {"a": jnp.asarray(w), "c": jnp.asarray(outer)})
    lengths = np.abs(outer).max() * (np.abs(outer) @ np.linalg.norm(w, axis=1) + np.abs(teacher_outer) @ np.linalg.norm(v, axis=1))
    steepness = lengths / min(1.0, *np.linalg.norm(w, axis=1))
    found = {"value": abs(float(mp.mpf(float(got["value"])) - judge.value) / float(judge.terms))}
    for name in ("gradient", "gradient of loss"):
        found[name] = np.abs(got[name] - judge.gradient).max() / lengths
    for name in ("hessian", "forward", "reverse"):
        found[name] = np.abs(got[name] - judge.hessian).max() / steepness
    return found


def unit(*entries):
    return np.array(entries) / np.linalg.norm(entries)


W, V = np.array([[0.3, -1.1, 0.4], [0.9, 0.2, -0.5]]), np.array([[1.0, 0.3, 0.2], [-0.4, 0.8, 0.6]])
ACROSS = unit(0.3, -1.0, 0.0)
CASES = {"generic": (W, V), "signed": (W, V, [0.7, -1.3], [-0.4, 2.0])}
for angle in (1e-4, 1e-8, 1e-12):
    CASES[f"parallel to {angle}"] = ([V[0] + angle * ACROSS, W[1]], V)
    CASES[f"antiparallel to {angle}"] = ([-V[0] + angle * ACROSS, W[1]], V)
    CASES[f"students parallel to {angle}"] = ([W[0], 0.7 * W[0] + angle * ACROSS], V)
    CASES[f"all parallel to {angle}"] = ([V[0] + angle * ACROSS, V[0]], [V[0], V[1]], [0.5, 0.5], [1.0, 1.0])
for size in (1e-3, 1e-6, 1e-12, 1e-60):
    CASES[f"length {size}"] = ([size * W[0], W[1]], V)
CASES |= {
    "at the teacher": (V, V),
    "exactly antiparallel": ([-V[0], -2 * V[1]], V),
    "twice the same": ([V[0], V[0]], V[:1], [0.5, 0.5], [1.0]),
    "long and short": ([1e6 * W[0], 1e-6 * V[0]], V),
}


@pytest.mark.parametrize("name", CASES)
def test_value_gradient_and_hessian_to_the_last_digits(name):
    found = errors(*CASES[name])
    assert max(found.values()) < 1e-14, found


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), closeness=st.floats(-16, 0), sign=st.sampled_from([-1, 1]), length=st.floats(-8, 3))
def test_any_angle_and_length(seed, closeness, sign, length):
    rng = np.random.default_rng(seed)
    w, v = rng.normal(size=(2, 2)), rng.normal(size=(2, 2))
    w[0] = 10**length * (sign * v[0] + 10**closeness * w[0])
    found = errors(w, v, rng.normal(size=2), rng.normal(size=2))
    assert max(found.values()) < 1e-13, found


def test_a_neuron_at_zero_rests():
    """relu'(0) = 0, as in the model: no velocity, no derivative by its weights, and the others do not feel it."""
    model = jd.models.TwoLayer(2, 3, False, "relu", "one")
    flow = PopulationFlow(model, V)
    params = {"a": jnp.asarray([[0.0, 0.0, 0.0], W[1]]), "c": jnp.asarray([0.7, 1.2])}
    velocity = flow.vector_field(0.0, params)
    alone = PopulationFlow(jd.models.TwoLayer(1, 3, False, "relu", "one"), V)
    rest = jax.tree.map(lambda leaf: leaf[1:], params)
    np.testing.assert_allclose(flow.loss(params), alone.loss(rest), rtol=1e-14)
    np.testing.assert_array_equal(velocity["a"][0], 0.0)
    np.testing.assert_array_equal(velocity["c"][0], 0.0)
    np.testing.assert_allclose(velocity["a"][1], alone.vector_field(0.0, rest)["a"][0], rtol=1e-13)
    by_own = jax.jit(jax.jacfwd(lambda w: flow.vector_field(0.0, params | {"a": params["a"].at[0].set(w)})["a"]))(jnp.zeros(3))
    np.testing.assert_array_equal(by_own, 0.0)
    for function in (jax.hessian(flow.loss), jax.jacrev(lambda y: flow.vector_field(0.0, y))):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(function)(params)))


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_smallest_eigenvalue_at_the_orthonormal_teacher(dim):
    """1/4 - 1/(2 pi) for every dimension (Safran & Shamir 2018, arXiv 1712.08968)."""
    model = jd.models.TwoLayer(dim, dim, False, "relu", "one", "a")
    flow = PopulationFlow(model, np.eye(dim))
    hessian = jax.hessian(lambda a: flow.loss({"a": a, "c": jnp.ones(dim)}))(jnp.eye(dim)).reshape(dim**2, dim**2)
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian)[0], 0.25 - 0.5 / np.pi, rtol=1e-13)


def test_the_field_of_one_neuron():
    """W' = (w* - w)/2 + (alpha sin th w - th w*)/(2 pi) (Tian 2017, arXiv 1703.00560)."""
    w, teacher = W[0], V[0]
    flow = PopulationFlow(jd.models.TwoLayer(1, 3, False, "relu", "one", "a"), teacher[None])
    alpha = np.linalg.norm(teacher) / np.linalg.norm(w)
    theta = np.arccos(w @ teacher / np.linalg.norm(w) / np.linalg.norm(teacher))
    expected = (teacher - w) / 2 + (alpha * np.sin(theta) * w - theta * teacher) / (2 * np.pi)
    np.testing.assert_allclose(flow.vector_field(0.0, {"a": jnp.asarray(w[None]), "c": jnp.ones(1)})["a"][0], expected, rtol=1e-14)


def on_the_circle(function, vectors):
    """E[function(x)] over x ~ N(0, I_2) of a function that is quadratic between the lines orthogonal to the vectors."""
    lines = np.arctan2(vectors[:, 1], vectors[:, 0])
    ends = np.sort(np.mod(np.concatenate([lines + np.pi / 2, lines - np.pi / 2, [0.0]]), 2 * np.pi))
    nodes, weights = np.polynomial.legendre.leggauss(24)
    total = 0.0
    for low, high in zip(ends, [*ends[1:], 2 * np.pi], strict=True):
        phi = low + (high - low) * (nodes + 1) / 2
        total += (high - low) / 2 * weights @ function(np.stack([np.cos(phi), np.sin(phi)], axis=1))
    return 2 * total / (2 * np.pi)  # E|x|^2 = 2


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.3", "leaky_relu:-0.5"])
@pytest.mark.parametrize("halved", [True, False])
def test_every_setting_against_quadrature_on_the_circle(activation, halved):
    rng = np.random.default_rng(5)
    covariance = np.array([[2.0, 0.7], [0.7, 0.5]])
    model = jd.models.TwoLayer(3, 2, False, activation, "sqrt", output_multiplier=1.4)
    flow = PopulationFlow(model, {"a": rng.normal(size=(2, 2)), "c": np.array([0.8, -1.5])}, covariance=covariance, halved=halved)
    params, root = model.init(jax.random.key(2)), np.linalg.cholesky(covariance)
    vectors = np.concatenate([params["a"], flow.teacher["a"]]) @ root

    def on_circle(quantity):
        return on_the_circle(lambda z: np.asarray(quantity(jnp.asarray(z @ root.T))), vectors)

    factor = 0.5 if halved else 1.0
    loss = factor * on_circle(lambda x: (model.apply(params, x) - flow.target(x)) ** 2)
    np.testing.assert_allclose(flow.loss(params), loss, rtol=1e-12)
    jacobian = jax.vmap(jax.grad(lambda y, x: model.apply(y, x[None])[0]), in_axes=(None, 0))
    velocity = flow.vector_field(0.0, params)
    for name, index in (("a", (0, 1)), ("a", (2, 0)), ("c", (1,))):

        def slopes(x, name=name, index=index):
            return (model.apply(params, x) - flow.target(x)) * jacobian(params, x)[name][(slice(None), *index)]

        slope = on_circle(slopes)
        np.testing.assert_allclose(velocity[name][index], -2 * factor * slope, rtol=1e-12, atol=1e-13)
