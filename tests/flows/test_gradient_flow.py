"""The gradient flow's field against finite differences and against numpy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.flows import GradientFlow

DATA = jd.data.points(np.random.default_rng(0).normal(size=(7, 2)), np.random.default_rng(1).normal(size=7))
PARAMS = jax.tree.map(
    jnp.asarray,
    dict(zip("abc", np.split(np.random.default_rng(2).normal(size=4 * 4), [8, 12]), strict=True)),
)
PARAMS["a"] = PARAMS["a"].reshape(4, 2)


def by_hand(params, data, factor, weight=1.0):
    """Loss and gradient of 1/2 sum (factor c.relu(a x - b) - y)^2, by the chain rule on paper."""
    a, b, c = (np.asarray(params[k]) for k in "abc")
    x, y = np.asarray(data.x), np.asarray(data.y)
    z = x @ a.T - b
    residual = weight * (factor * np.maximum(z, 0) @ c - y)
    back = factor * residual[:, None] * (z > 0) * c
    gradient = {"a": back.T @ x, "b": -back.sum(0), "c": factor * np.maximum(z, 0).T @ residual}
    return 0.5 * (residual**2).sum() / weight, gradient


def assert_trees_close(tree, expected, **tolerances):
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for got, want in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, **tolerances)


@pytest.mark.parametrize(("scaling", "factor"), [("one", 1.0), ("sqrt", 0.5), ("linear", 0.25)])
def test_field_is_the_gradient_worked_out_by_hand(scaling, factor):
    model = jd.models.TwoLayer(width=4, dim=2, scaling=scaling, output_multiplier=3.0)
    flow = GradientFlow(model, jd.losses.square, DATA)
    loss, gradient = by_hand(PARAMS, DATA, 3.0 * factor)
    np.testing.assert_allclose(flow.loss(PARAMS), loss, rtol=1e-13)
    assert_trees_close(flow.vector_field(0.0, PARAMS), jax.tree.map(np.negative, gradient), rtol=1e-12, atol=1e-13)


def test_mean_square_is_n_times_slower():
    model = jd.models.TwoLayer(width=4, dim=2)
    mean, total = (GradientFlow(model, loss, DATA).vector_field(0.0, PARAMS) for loss in (jd.losses.mean_square, jd.losses.square))
    assert_trees_close(jax.tree.map(lambda v: 7 * v, mean), total, rtol=1e-13)


@eqx.filter_jit
def velocity_and_differences(flow, params, directions, h=1e-6):
    """The field, and minus the loss's central differences in some directions."""
    flat, unravel = ravel_pytree(params)
    losses = jax.vmap(lambda y: flow.loss(unravel(y)))
    differences = losses(flat[None] - h * directions) - losses(flat[None] + h * directions)
    return ravel_pytree(flow.vector_field(0.0, params))[0], differences / (2 * h)


@pytest.mark.parametrize("loss", ["square", "mean_square", "logistic", "exponential"])
@pytest.mark.parametrize(("decay", "radius"), [(0.0, 1e3), (0.3, 1e3), (0.0, 2.0), (0.1, 1.0)])
def test_field_is_minus_the_finite_difference_of_the_loss(loss, decay, radius):
    model = jd.models.MLP((3, 3), dim=2, bias=True, activation="tanh")
    data = jd.data.points(DATA.x, jnp.sign(DATA.y))
    flow = GradientFlow(model, jd.losses.loss(loss), data, weight_decay=decay, norm_barrier=radius)
    params = model.init(jr.key(0))
    directions = np.random.default_rng(3).normal(size=(5, ravel_pytree(params)[0].size))
    velocity, expected = velocity_and_differences(flow, params, directions)
    assert flow.loss_of_outputs(flow.outputs(params)) <= flow.loss(params)
    np.testing.assert_allclose(directions @ velocity, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("scales", "expected"), [(2.0, (2, 2, 2)), ({"a": 1.0, "b": 0.0, "c": 0.1}, (1, 0, 0.1)), ({"a": 3, "b": 1, "c": 1}, (3, 1, 1))]
)
def test_time_scales_multiply_the_velocity_of_each_leaf(scales, expected):
    model = jd.models.TwoLayer(width=4, dim=2, scaling="one")
    velocity = GradientFlow(model, jd.losses.square, DATA, time_scales=scales).vector_field(0.0, PARAMS)
    _, gradient = by_hand(PARAMS, DATA, 1.0)
    assert_trees_close(velocity, {k: -s * gradient[k] for k, s in zip("abc", expected, strict=True)}, rtol=1e-12, atol=1e-13)


def test_penalties_by_hand():
    model = jd.models.TwoLayer(width=4, dim=2, scaling="one")
    squared = sum(float((PARAMS[k] ** 2).sum()) for k in "abc")
    radius = 0.7 * squared**0.5
    flow = GradientFlow(model, jd.losses.square, DATA, weight_decay=0.3, norm_barrier=radius)
    loss, gradient = by_hand(PARAMS, DATA, 1.0)
    excess = 0.5 * squared - 0.5 * radius**2
    np.testing.assert_allclose(flow.loss(PARAMS), loss + 0.15 * squared + excess**3 / 3, rtol=1e-13)
    expected = {k: -gradient[k] - (0.3 + excess**2) * np.asarray(PARAMS[k]) for k in "abc"}
    assert_trees_close(flow.vector_field(0.0, PARAMS), expected, rtol=1e-12, atol=1e-12)


def test_norm_barrier_is_nothing_inside_the_ball():
    model = jd.models.TwoLayer(width=4, dim=2)
    free, fenced = (GradientFlow(model, jd.losses.square, DATA, norm_barrier=r).vector_field(0.0, PARAMS) for r in (None, 1e3))
    assert_trees_close(fenced, free, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("trains", "frozen", "still"), [("abc", "a", "a"), ("abc", ("b", "c"), "bc"), ("bc", ("b",), "ab"), ("ab", ("b",), "bc")]
)
def test_frozen_parameters_and_those_that_the_model_does_not_train_stay(trains, frozen, still):
    model = jd.models.TwoLayer(width=4, dim=2, scaling="one", trains=trains)
    flow = GradientFlow(model, jd.losses.square, DATA, frozen=frozen, weight_decay=0.2)
    _, gradient = by_hand(PARAMS, DATA, 1.0)
    expected = {k: 0 * gradient[k] if k in still else -gradient[k] - 0.2 * np.asarray(PARAMS[k]) for k in "abc"}
    assert_trees_close(flow.vector_field(0.0, PARAMS), expected, rtol=1e-12, atol=1e-13)
    moving = sum(float((PARAMS[k] ** 2).sum()) for k in "abc" if k not in still)
    np.testing.assert_allclose(flow.loss(PARAMS), by_hand(PARAMS, DATA, 1.0)[0] + 0.1 * moving, rtol=1e-13)
    assert {k for k, moves in flow.trainable(PARAMS).items() if not moves} == set(still)


def test_frozen_takes_paths_and_subtrees():
    model = jd.models.MLP((3,), dim=2, bias=True, activation="tanh")
    params = model.init(jr.key(0))
    flow = GradientFlow(model, jd.losses.square, DATA, frozen=("0", "1.b"))
    assert flow.trainable(params) == [{"w": False, "b": False}, {"w": True, "b": False}]


def test_a_frozen_name_that_is_no_parameter_is_refused():
    flow = GradientFlow(jd.models.TwoLayer(width=4, dim=2), jd.losses.square, DATA, frozen=("d",))
    with pytest.raises(ValueError, match="frozen names 'd', but the parameters are a, b, c"):
        flow.vector_field(0.0, PARAMS)


@pytest.mark.parametrize("loss", ["logistic", "exponential", "hinge", "squared_hinge"])
def test_losses_of_the_margin_ask_for_signs(loss):
    model = jd.models.TwoLayer(width=4, dim=2)
    halves = jd.data.points(DATA.x, (jnp.sign(DATA.y) + 1) / 2)
    for make in (GradientFlow, jd.flows.CorrelationFlow):
        with pytest.raises(ValueError, match="must be -1 or \\+1; give 2 y - 1 for labels 0 and 1"):
            make(model, jd.losses.loss(loss), halves)
    # a label that is traced, as in a derivative by it, is not looked at
    slope = jax.grad(lambda y: GradientFlow(model, jd.losses.loss(loss), jd.data.points(DATA.x, y)).loss(PARAMS))
    assert jnp.all(jnp.isfinite(slope(jnp.sign(DATA.y))))


def test_gates_replace_the_signs():
    model = jd.models.TwoLayer(width=4, dim=2, scaling="one")
    flow = GradientFlow(model, jd.losses.square, DATA)
    gates = (flow.preactivations(PARAMS) > 0).astype(float)
    assert_trees_close(flow.vector_field(0.0, PARAMS, gates), flow.vector_field(0.0, PARAMS), rtol=1e-12, atol=1e-13)
    half = flow.vector_field(0.0, PARAMS, jnp.full_like(gates, 0.5))
    linear = GradientFlow(
        jd.models.TwoLayer(width=4, dim=2, scaling="one", activation="identity", output_multiplier=0.5), jd.losses.square, DATA
    )
    assert_trees_close(half, linear.vector_field(0.0, PARAMS), rtol=1e-12, atol=1e-13)


def test_conserved_quantities_do_not_change_along_the_field():
    model = jd.models.TwoLayer(width=4, dim=2, output_multiplier=2.0)
    flow = GradientFlow(model, jd.losses.square, DATA)
    value, change = jax.jvp(flow.conserved, (PARAMS,), (flow.vector_field(0.0, PARAMS),))
    expected = PARAMS["c"] ** 2 - (PARAMS["a"] ** 2).sum(1) - PARAMS["b"] ** 2
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(change, 0.0, atol=1e-13)


@pytest.mark.parametrize("breaking", [{"time_scales": 2.0}, {"weight_decay": 0.1}, {"norm_barrier": 1.0}, {"frozen": ("a",)}])
def test_what_breaks_the_conservation_law_withdraws_it(breaking):
    model = jd.models.TwoLayer(width=4, dim=2)
    assert GradientFlow(model, jd.losses.square, DATA, **breaking).conserved(PARAMS) is None


def test_a_plain_function_and_a_dictionary_are_a_network():
    def apply(params, x):
        return jnp.maximum(x @ params["a"].T - params["b"][None], 0.0) @ params["c"]

    flow = GradientFlow(apply, lambda f, y: 0.5 * jnp.sum((f - y) ** 2), DATA, initial=lambda key: PARAMS)
    _, gradient = by_hand(PARAMS, DATA, 1.0)
    assert_trees_close(flow.vector_field(0.0, flow.init(jr.key(0))), jax.tree.map(np.negative, gradient), rtol=1e-12, atol=1e-13)
    assert flow.preactivations(PARAMS) is None
    assert flow.conserved(PARAMS) is None


def test_an_equinox_network_split_into_arrays_and_the_rest():
    network = eqx.nn.MLP(2, "scalar", 5, 1, activation=jnp.tanh, key=jr.key(0))
    params, static = eqx.partition(network, eqx.is_inexact_array)

    def apply(params, x):
        return jax.vmap(eqx.combine(params, static))(x)

    flow = GradientFlow(apply, jd.losses.mean_square, DATA, frozen=("layers.1.bias",))
    first, second = network.layers
    hidden = np.tanh(DATA.x @ first.weight.T + first.bias[None])
    residual = (hidden @ second.weight[0] + second.bias[0] - DATA.y) / 7
    velocity = flow.vector_field(0.0, params)
    np.testing.assert_allclose(velocity.layers[1].weight[0], -hidden.T @ residual, rtol=1e-12)
    np.testing.assert_allclose(velocity.layers[0].bias, -((1 - hidden**2) * second.weight).T @ residual, rtol=1e-12)
    np.testing.assert_array_equal(velocity.layers[1].bias, 0.0)
    sol = jd.solve(flow, params, t1=1.0)
    assert sol.fate.name == "t1_reached"
    assert flow.loss(sol.params) < flow.loss(params)


def test_hyper_parameters_are_leaves():
    model = jd.models.TwoLayer(width=4, dim=2)
    flow = GradientFlow(model, jd.losses.square, DATA, weight_decay=0.3)
    decays = jnp.asarray([0.0, 0.3, 1.0])
    many = jax.vmap(lambda d: eqx.tree_at(lambda f: f.weight_decay, flow, d).loss(PARAMS))(decays)
    squared = sum((PARAMS[k] ** 2).sum() for k in "abc")
    np.testing.assert_allclose(many - many[0], 0.5 * decays * squared, rtol=1e-12)


@pytest.mark.parametrize("shape", [(7, 1), (), (6,)])
def test_outputs_of_another_shape_are_refused(shape):
    flow = GradientFlow(lambda params, x: jnp.zeros(shape) + params, jd.losses.square, DATA)
    with pytest.raises(ValueError, match="must return outputs like the targets, shape"):
        flow.vector_field(0.0, jnp.asarray(1.0))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((3, jd.losses.square, DATA), "the model must be a function"),
        ((jd.models.TwoLayer(4, 2), "square", DATA), "the loss must be a function"),
        ((jd.models.TwoLayer(4, 2), jd.losses.square, (DATA.x, DATA.y)), "the data must have fields x and y"),
    ],
)
def test_misuse_is_named(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        GradientFlow(*arguments)


def test_a_function_without_a_start_says_so():
    flow = GradientFlow(lambda params, x: x @ params, jd.losses.square, DATA)
    with pytest.raises(ValueError, match="initial=lambda key"):
        flow.init(jr.key(0))


def test_float32_parameters_stay_float32():
    model = jd.models.TwoLayer(width=4, dim=2)
    flow = GradientFlow(model, jd.losses.square, DATA, time_scales=2.0, weight_decay=0.1, norm_barrier=0.5)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), PARAMS)
    velocity = flow.vector_field(0.0, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(velocity)} == {jnp.dtype(jnp.float32)}
    assert_trees_close(velocity, flow.vector_field(0.0, PARAMS), rtol=1e-4, atol=1e-4)
