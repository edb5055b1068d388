"""Losses against loops and finite differences."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn import losses

F = np.array([0.3, -1.2, 2.0, 0.0])
Y = np.array([1.0, -1.0, -1.0, 1.0])

FORMULAS = {
    "square": lambda f, y: 0.5 * sum((u - v) ** 2 for u, v in zip(f, y, strict=True)),
    "mean_square": lambda f, y: 0.5 * sum((u - v) ** 2 for u, v in zip(f, y, strict=True)) / len(f),
    "logistic": lambda f, y: sum(math.log(1 + math.exp(-u * v)) for u, v in zip(f, y, strict=True)),
    "hinge": lambda f, y: sum(max(0.0, 1 - u * v) for u, v in zip(f, y, strict=True)),
    "squared_hinge": lambda f, y: sum(max(0.0, 1 - u * v) ** 2 for u, v in zip(f, y, strict=True)),
    "exponential": lambda f, y: sum(math.exp(-u * v) for u, v in zip(f, y, strict=True)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_value_gradient_and_lookup(name):
    loss = losses.loss(name)
    assert loss is getattr(losses, name)
    assert loss.name == name
    np.testing.assert_allclose(loss(jnp.asarray(F), jnp.asarray(Y)), FORMULAS[name](F, Y), rtol=1e-14)
    gradient = jax.grad(loss)(jnp.asarray(F), jnp.asarray(Y))
    h = 1e-6
    for j in range(4):
        step = h * np.eye(4)[j]
        expected = (FORMULAS[name](F + step, Y) - FORMULAS[name](F - step, Y)) / (2 * h)
        np.testing.assert_allclose(gradient[j], expected, rtol=1e-8, atol=1e-9)


def test_hinge_with_gates_is_linear_in_the_outputs():
    f, y, gates = jnp.asarray(F), jnp.asarray(Y), jnp.array([1.0, 0.5, 1.0, 0.0])
    np.testing.assert_allclose(losses.hinge.gated(f, y, gates), 0.7 * 1 + 0.5 * (1 - 1.2) + 3.0, rtol=1e-14)
    signs = (losses.hinge.switches(f, y) > 0).astype(float)
    np.testing.assert_allclose(losses.hinge.gated(f, y, signs), losses.hinge(f, y), rtol=1e-14)


def test_time_differs_by_the_number_of_samples():
    fast = jax.grad(losses.square)(jnp.asarray(F), jnp.asarray(Y))
    slow = jax.grad(losses.mean_square)(jnp.asarray(F), jnp.asarray(Y))
    np.testing.assert_allclose(fast, 4 * slow, rtol=1e-15)


def test_logistic_is_stable_at_large_margins():
    f, y = jnp.array([800.0, -800.0, 40.0]), jnp.ones(3)
    np.testing.assert_allclose(losses.logistic(f, y), 800.0 + math.exp(-40.0), rtol=1e-15)
    np.testing.assert_allclose(losses.logistic(f[2:], y[2:]), math.exp(-40.0), rtol=1e-12)
    gradient = jax.grad(losses.logistic)(f, y)
    np.testing.assert_allclose(gradient, [0.0, -1.0, -math.exp(-40.0)], rtol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_repr_tells_the_convention(name):
    loss = losses.loss(name)
    assert loss.convention in repr(loss)
    assert "time runs" in loss.convention
    assert ("1/2 mean over" if name == "mean_square" else "sum over samples") in loss.convention


def test_lookup_hands_losses_back_and_refuses_the_unknown():
    assert losses.loss(losses.square) is losses.square
    with pytest.raises(ValueError, match="square, mean_square, logistic, exponential, hinge"):
        losses.loss("cubic")


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shapes", [((4,), (1,)), ((4, 1), (4,)), ((), ()), ((4, 1, 1), (4, 1, 1))])
def test_shapes_that_would_broadcast_are_refused(name, shapes):
    with pytest.raises(ValueError, match=r"shape \(sample,\)"):
        losses.loss(name)(jnp.zeros(shapes[0]), jnp.zeros(shapes[1]))


ROWS = np.array([[0.3, -1.2, 2.0], [0.1, 0.1, 0.1], [900.0, 0.0, -900.0]])


def test_cross_entropy():
    """Against a loop; the derivative is softmax minus the label; large outputs do not overflow."""
    labels = np.array([2.0, 0.0, 1.0])
    expected = [math.log(sum(math.exp(v - max(row)) for v in row)) + max(row) - row[int(k)] for row, k in zip(ROWS, labels, strict=True)]
    np.testing.assert_allclose(losses.cross_entropy(jnp.asarray(ROWS), jnp.asarray(labels)), sum(expected), rtol=1e-14)
    found = jax.grad(losses.cross_entropy)(jnp.asarray(ROWS), jnp.asarray(labels))
    softmax = np.exp(ROWS - ROWS.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    np.testing.assert_allclose(found, softmax - np.eye(3)[labels.astype(int)], atol=1e-15)
    assert losses.loss("cross_entropy") is losses.cross_entropy


def test_cross_entropy_of_two_classes_is_logistic():
    f = jnp.stack([jnp.zeros(4), jnp.asarray(F)], axis=1)
    np.testing.assert_allclose(
        losses.cross_entropy(f, jnp.asarray((Y + 1) / 2)), losses.logistic(jnp.asarray(F), jnp.asarray(Y)), rtol=1e-14
    )


@pytest.mark.parametrize("label", [3.0, -1.0, 0.5])
def test_labels_that_are_no_class_give_nan(label):
    assert np.isnan(losses.cross_entropy(jnp.asarray(ROWS[:1]), jnp.asarray([label])))


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((4, 3), (4, 3)), ((4, 3), (3,))])
def test_cross_entropy_takes_rows_and_labels(shapes):
    with pytest.raises(ValueError, match="take logistic"):
        losses.cross_entropy(jnp.zeros(shapes[0]), jnp.zeros(shapes[1]))


@pytest.mark.parametrize("name", ["square", "mean_square"])
def test_squares_of_rows_are_summed_over_outputs(name):
    rows = jnp.asarray(ROWS[:2])
    whole = losses.loss(name)(rows, 0 * rows)
    by_column = sum(losses.loss(name)(rows[:, k], 0 * rows[:, k]) for k in range(3))
    np.testing.assert_allclose(whole, by_column, rtol=1e-14)
