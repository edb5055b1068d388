"""The closed form of linearised flows against matrix exponentials, least squares, integration and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.linalg
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.flows import GradientFlow, LinearisedFlow, LinearisedSolution
from jaxdyn.losses import mean_square, square

pytestmark = pytest.mark.ci_slow

MODEL = jd.models.TwoLayer(width=6, activation="tanh")
START, OTHER = MODEL.init(jr.key(3)), MODEL.init(jr.key(4))
DATA = jd.data.points(np.linspace(-1, 1, 5), [0.3, -1.0, 0.5, 1.0, 0.0])
SIGNS = jd.data.points(DATA.x, [1.0, -1.0, 1.0, 1.0, -1.0])
REPEATED = jd.data.points(np.array([-1.0, 0.2, 0.2, 0.2, 0.9]), [0.3, -1.0, 0.5, 1.0, 0.0])
MANY = jd.data.points(np.linspace(-2, 2, 40), np.sin(5 * np.linspace(-2, 2, 40)))
SCALES = {"a": 1.0, "b": 0.5, "c": 2.0}
TIMES = np.array([0.0, 0.1, 2.0, 30.0])


@eqx.filter_jit
def solved(flow, start, ts):
    """Flat parameters, outputs and losses."""
    solution = LinearisedSolution(flow, start)
    now = solution.params(ts)
    flat = jax.vmap(lambda params: ravel_pytree(params)[0])(now["now"] if isinstance(now, dict) and "now" in now else now)
    return flat, solution.outputs(ts), solution.loss(ts)


@eqx.filter_jit
def linear_parts(flow, point):
    flat, unravel = ravel_pytree(point)
    return jax.jacrev(lambda y: flow.outputs(unravel(y)))(flat), flow.outputs(point), flat


def by_exponential(flow, point, start, t, scales, decay):
    """theta(t) of theta' = -s (J^T D (f(p) + J (theta - p) - y) + decay theta), by the exponential of the augmented matrix."""
    J, f, p = map(np.asarray, linear_parts(flow, point))
    s, theta = np.broadcast_to(scales, p.shape)[:, None], np.asarray(ravel_pytree(start)[0])
    weight = 1.0 if flow.loss_function is square else 1 / flow.data.num_samples
    residual = f - J @ p - np.asarray(flow.data.y)
    matrix = weight * J.T @ J + decay * np.eye(p.size)
    generator = np.block([[-s * matrix, -s * weight * (J.T @ residual)[:, None]], [np.zeros((1, p.size + 1))]])
    return (scipy.linalg.expm(t * generator) @ np.append(theta, 1.0))[:-1]


@pytest.mark.parametrize("data", [DATA, REPEATED, MANY], ids=["full rank", "repeated", "many"])
@pytest.mark.parametrize(
    ("loss", "decay", "scales", "frozen"),
    [(square, 0.0, None, ()), (mean_square, 0.3, 2.0, ("c",)), (square, 0.3, SCALES, ()), (mean_square, 0.0, SCALES, ("b",))],
    ids=["plain", "decay", "decay and scales", "scales"],
)
def test_the_matrix_exponential(data, loss, decay, scales, frozen):
    flow = GradientFlow(MODEL, loss, data, weight_decay=decay or None, time_scales=scales, frozen=frozen)
    by_name = scales if isinstance(scales, dict) else dict.fromkeys("abc", scales or 1.0)
    s = np.repeat([0.0 if name in frozen else by_name[name] for name in "abc"], 6)
    around_other, around_itself = LinearisedFlow(flow, OTHER), LinearisedFlow(flow)
    flat, f, losses = solved(around_other, START, TIMES)
    paired = solved(around_itself, {"now": START, "start": OTHER}, TIMES)
    for t, theta, outputs, loss_at, again in zip(TIMES, flat, f, losses, paired[0], strict=True):
        expected = by_exponential(flow, OTHER, START, t, s, decay)
        np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(again, expected, rtol=0, atol=1e-12)
        params = ravel_pytree(START)[1](expected)
        np.testing.assert_allclose(outputs, around_other.outputs(params), rtol=0, atol=1e-12)
        np.testing.assert_allclose(loss_at, around_other.loss(params), rtol=1e-11)


def test_the_integrated_flow_and_several_outputs():
    data = jd.data.points(np.linspace(-1, 1, 4), np.random.default_rng(0).normal(size=(4, 2)))
    model = jd.models.MLP((5,), activation="tanh", outputs=2)
    flow = LinearisedFlow(GradientFlow(model, mean_square, data, weight_decay=0.01))
    start = flow.init(jr.key(0))
    sol = jd.solve(flow, start, t1=20.0, rtol=1e-10, record=[0.0, 1.0, 20.0])
    x = np.array([[0.1], [2.0]])

    @jax.jit
    def both():
        solution = LinearisedSolution(flow, start)
        there = jax.vmap(lambda state: (state, flow.outputs(state), flow.inner.model.apply(state, x), flow.loss(state)))(sol.states)
        return (solution.params(sol.ts), solution.outputs(sol.ts), solution.outputs_at(x, sol.ts), solution.loss(sol.ts)), there

    here, there = both()
    assert here[1].shape == (3, 4, 2) and here[2].shape == (3, 2, 2)
    for found, integrated in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True):
        np.testing.assert_allclose(found, integrated, rtol=0, atol=1e-9)


@pytest.mark.parametrize("data", [DATA, REPEATED], ids=["full rank", "repeated"])
def test_the_end_is_the_nearest_least_squares_solution(data):
    flow = GradientFlow(MODEL, square, data)
    theta, f, _ = (at_end[0] for at_end in solved(flow, START, jnp.array([jnp.inf])))
    J, f0, theta0 = map(np.asarray, linear_parts(flow, START))
    solution = eqx.filter_jit(LinearisedSolution)(flow, START)
    kept = 10 ** (-0.5) * float(solution.condition) ** -0.5
    step, _, rank, sizes = np.linalg.lstsq(J, np.asarray(data.y) - f0, rcond=kept)
    assert int(solution.rank) == rank
    np.testing.assert_allclose(f, f0 + J @ step, rtol=0, atol=1e-11)
    np.testing.assert_allclose(theta, theta0 + step, rtol=0, atol=1e-14 * sizes[0] / sizes[rank - 1] + 1e-12)
    np.testing.assert_allclose(np.sqrt(solution.eigenvalues)[:rank], sizes[:rank], rtol=0, atol=1e-14 * sizes[0])
    np.testing.assert_allclose(solution.condition, (sizes[0] / sizes[rank - 1]) ** 2, rtol=1e-2)
    assert np.all(solution.eigenvalues[rank:] == 0)


def linear(params, x):
    return x @ params


def rotated(sizes, shape=(3, 4)):
    rng = np.random.default_rng(7)
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in shape)
    return (left * sizes) @ right[: len(sizes)], left


def test_the_end_with_more_samples_than_parameters():
    rng = np.random.default_rng(2)
    x, y, start = rng.normal(size=(9, 2)) @ rng.normal(size=(2, 4)), rng.normal(size=9), rng.normal(size=4)
    flow = GradientFlow(linear, mean_square, jd.data.points(x, y))
    theta, f, loss = (at_end[0] for at_end in solved(flow, jnp.asarray(start), jnp.array([jnp.inf])))
    expected = start + np.linalg.pinv(x, rcond=1e-12) @ (y - x @ start)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(f, x @ expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(loss, np.mean((x @ expected - y) ** 2) / 2, rtol=1e-12)


def test_modes_that_the_kernel_itself_would_lose():
    """A singular value of 1e-10 is an eigenvalue of 1e-20: lost in the kernel, whose entries are rounded at 1e-16."""
    x, left = rotated([1.0, 1e-3, 1e-10])
    solution = LinearisedSolution(GradientFlow(linear, square, jd.data.points(x, np.ones(3))), jnp.zeros(4))
    assert int(solution.rank) == 3
    modes = left.T @ (1.0 - np.asarray(solution.outputs(1e20)))
    np.testing.assert_allclose(modes[2] / (left.T @ np.ones(3))[2], np.exp(-1), rtol=1e-4)


def test_a_small_loss_keeps_its_digits():
    x, left = rotated([1.0, 1.2, 1.5])
    solution = LinearisedSolution(GradientFlow(linear, square, jd.data.points(x, np.ones(3))), jnp.zeros(4))
    t = 60.0
    expected = 0.5 * np.sum((left.T @ np.ones(3) * np.exp(-(np.array([1.0, 1.2, 1.5]) ** 2) * t)) ** 2)
    assert expected < 1e-50
    np.testing.assert_allclose(solution.loss(t), expected, rtol=1e-10)
    assert float(solution.loss(jnp.inf)) == 0.0


def test_frozen_parameters_keep_their_bits_and_nothing_is_lost_in_float32():
    start = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), START)
    flow = GradientFlow(MODEL, square, REPEATED, frozen=("b",), weight_decay=0.1, time_scales=SCALES)
    ts = jnp.array([2.0, jnp.inf])
    single, double = solved(flow, start, ts), solved(flow, START, ts)
    assert {leaf.dtype for leaf in single} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(single[0][:, 6:12], np.broadcast_to(start["b"], (2, 6)))
    for found, expected, atol in zip(single, double, (2e-5, 3e-6, 3e-6), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_seeds_in_one_go():
    flow = LinearisedFlow(GradientFlow(MODEL, square, REPEATED))
    starts = jax.vmap(flow.init)(jr.split(jr.key(0), 3))
    ts = jnp.array([0.5, jnp.inf])
    outputs, conditions = jax.jit(jax.vmap(lambda start: ((s := LinearisedSolution(flow, start)).outputs(ts), s.condition)))(starts)
    assert np.all(np.isfinite(conditions)) and np.all(conditions > 1)
    for seed in range(3):
        alone = solved(flow, jax.tree.map(lambda leaf, seed=seed: leaf[seed], starts), ts)[1]
        np.testing.assert_allclose(outputs[seed], alone, rtol=0, atol=1e-12)


TOWARDS = jax.tree.map(lambda leaf: jnp.asarray(np.random.default_rng(1).normal(size=leaf.shape)), START)


@jax.jit
def number(s, t, data):
    """A number of all that the solution says, along a direction of starts and one of everything else."""
    start = jax.tree.map(lambda leaf, change: leaf + s[0] * change, START, TOWARDS)
    moved = jd.data.points(data.x * (1 + s[1]), data.y + s[1] * data.x[:, 0])
    scales = {"a": 1.0 + s[1], "b": 0.5, "c": 1.0}
    flow = GradientFlow(MODEL, mean_square, moved, time_scales=scales, weight_decay=0.05 + 0.1 * s[1])
    solution = LinearisedSolution(flow, start)
    return jnp.sum(jnp.sin(solution.outputs(t))) + solution.loss(t) + jnp.sum(solution.outputs_at(jnp.array([[0.4]]), t))


backwards, forwards = jax.jit(jax.grad(number)), jax.jit(jax.jacfwd(number))


@pytest.mark.parametrize("data", [DATA, REPEATED], ids=["full rank", "repeated"])
@pytest.mark.parametrize("t", [1.5, np.inf])
def test_derivatives_by_start_labels_inputs_scales_and_decay(data, t):
    h, zero = 1e-5, np.zeros(2)
    expected = [(number(zero + h * e, t, data) - number(zero - h * e, t, data)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(backwards(zero, t, data), expected, rtol=1e-6)
    np.testing.assert_allclose(forwards(zero, t, data), expected, rtol=1e-6)


def test_derivatives_by_the_start_where_all_eigenvalues_coincide():
    """The outputs are w + w^3 on unit vectors: K = (1 + 3 w^2)^2 at equal w, which is where w starts."""
    flow = GradientFlow(lambda w, x: x @ (w + w**3), square, jd.data.points(np.eye(3), np.array([1.0, -1.0, 2.0])))

    def by_hand(w, t):
        return jnp.array([1.0, -1.0, 2.0]) + jnp.exp(-((1 + 3 * w**2) ** 2) * t) * (w + w**3 - jnp.array([1.0, -1.0, 2.0]))

    w, t = jnp.full(3, 0.4), jnp.asarray(0.3)
    for mode in (jax.jacfwd, jax.jacrev):
        found = jax.jit(mode(lambda w, t: LinearisedSolution(flow, w).outputs(t), (0, 1)))(w, t)
        for derivative, expected in zip(found, jax.jacfwd(by_hand, (0, 1))(w, t), strict=True):
            np.testing.assert_allclose(derivative, expected, rtol=0, atol=1e-14)


def test_a_constant_network_stays_where_it_is():
    flow = GradientFlow(lambda w, x: 0.0 * x @ w, square, jd.data.points(np.eye(2), np.ones(2)))
    solution = LinearisedSolution(flow, jnp.ones(2))
    np.testing.assert_array_equal(solution.params(jnp.inf), 1.0)
    assert int(solution.rank) == 0 and float(solution.condition) == 1.0 and float(solution.loss(jnp.inf)) == 1.0


@pytest.mark.parametrize(
    ("settings", "start", "words"),
    [
        ({"loss_function": jd.losses.logistic, "data": SIGNS}, START, "integrate the flow with jaxdyn.solve"),
        ({"norm_barrier": 2.0}, START, "leave it out"),
        ({"frozen": ("a", "b", "c")}, START, "leave one of them out of `frozen`"),
        (
            {"time_scales": {"a": 1.0, "b": -1.0, "c": 1.0}},
            START,
            "must be zero or positive, and finite: a negative one would ascend the loss; -1.0 was given",
        ),
    ],
)
def test_what_has_no_closed_form_is_refused(settings, start, words):
    with pytest.raises(ValueError, match=words):
        LinearisedSolution(GradientFlow(MODEL, **{"loss_function": square, "data": DATA, **settings}), start)


def test_bad_calls():
    with pytest.raises(ValueError, match="as flow.init"):
        LinearisedSolution(LinearisedFlow(GradientFlow(MODEL, square, DATA)), START)
    with pytest.raises(ValueError, match="not a ReducedFlow"):
        LinearisedSolution(jd.flows.ReducedFlow(jd.models.TwoLayer(4, bias=True), square, DATA), START)
    wide = jd.models.TwoLayer(width=700, activation="tanh")
    flow = GradientFlow(wide, square, DATA, weight_decay=0.1, time_scales=SCALES)
    with pytest.raises(ValueError, match="give one time scale"):
        LinearisedSolution(flow, wide.init(jr.key(0)))
    with pytest.raises(ValueError, match="ravel it"):
        LinearisedSolution(GradientFlow(MODEL, square, DATA), START).outputs(np.ones((2, 2)))
