"""Polishing: known stationary points, singular Hessians, saddles, kinks, and what it must never do."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from formula_flows import LinearFlow
from jax.flatten_util import ravel_pytree

import jaxdyn as jd

pytestmark = pytest.mark.ci_slow

METHODS = ("eigen", "products", "differences")
EITHER = ("eigen", pytest.param("products", marks=pytest.mark.slow))
"""A compilation each."""


def committee(k, dim=None, students=None):
    """Orthonormal teachers, output weights 1 and frozen."""
    model = jd.models.TwoLayer(students or k, dim or k, bias=False, scaling="one", trains="a")
    return jd.flows.PopulationFlow(model, np.eye(k, dim or k))


def start(flow, seed):
    model = flow.model
    return {"a": jr.normal(jr.key(seed), (model.width, model.dim)) / np.sqrt(model.dim), "c": jnp.ones(model.width)}


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def test_lanes_are_refilled(monkeypatch, capfd):
    """Each lane is what polish makes of it alone, be it stationary, slow, hopeless or the last; in rounds, on each device."""
    monkeypatch.setattr("jaxdyn.ensemble.polish.ROUND", 3)
    flow = LinearFlow(jnp.diag(jnp.asarray([1.0, 0.1, 0.0])))
    y = jr.normal(jr.key(0), (7, 3)).at[2].set(0.0).at[3, 0].set(jnp.nan)
    found = jd.polish_lanes(flow, y, batch=2, radius=0.4, progress="to rest")
    assert "to rest" in capfd.readouterr().err
    one = jd.polish_lanes(flow, y, batch=2, radius=0.4, devices=jax.devices()[:1])
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(one), strict=True):
        np.testing.assert_array_equal(a, b)
    for k in range(7):
        alone = jd.polish(flow, y[k], radius=0.4)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found.converged, np.arange(7) != 3)


@pytest.mark.parametrize("method", METHODS)
def test_a_quadratic_with_a_null_space_takes_the_shortest_way(method):
    """Only the part of the start in the range of the matrix moves, whatever the null space."""
    basis = jnp.linalg.qr(jr.normal(jr.key(0), (6, 6)))[0]
    matrix = basis @ jnp.diag(jnp.asarray([3.0, 1.0, 0.2, 0.0, 0.0, 0.0])) @ basis.T
    matrix, y = (matrix + matrix.T) / 2, jr.normal(jr.key(1), (6,))
    found = jd.polish(LinearFlow(matrix), y, radius=0.3, method=method, max_steps=1e308)
    expected = basis[:, 3:] @ (basis[:, 3:].T @ y)
    np.testing.assert_allclose(found.params, expected, atol=1e-7)
    assert bool(found.converged)
    np.testing.assert_allclose(found.distance, jnp.linalg.norm(expected - y), rtol=1e-7)
    assert int(found.num_steps) >= float(found.distance) / 0.3


@pytest.mark.parametrize("method", EITHER)
def test_a_cubic_end_converges_by_a_quarter_a_step(method):
    """One student too many: the flow's gradient is t^-2, the Hessian singular at the end, and still each step quarters the gradient."""
    flow = committee(1, dim=2, students=2)
    ended = {"a": jnp.asarray([[0.61, 0.02], [0.37, -0.015]]), "c": jnp.ones(2)}
    first, second = (float(jd.polish(flow, ended, max_steps=n, method=method).gradient_norm) for n in (6, 10))
    assert 0.2 < (second / first) ** 0.25 < 0.3
    found = jd.polish(flow, ended, method=method)
    assert bool(found.converged) and int(found.num_steps) < 25
    np.testing.assert_allclose(jnp.sum(found.params["a"], axis=0), jnp.asarray([1.0, 0.0]), atol=1e-9)
    assert 1e-12 < np.abs(found.params["a"][:, 1]).max() < 1e-5
    np.testing.assert_array_equal(found.params["c"], 1.0)


@pytest.mark.parametrize("method", EITHER)
def test_onto_a_manifold_of_minima(method):
    """Across the manifold the way is the linearised problem's, J^+ r, and along it there is none."""
    model = jd.models.TwoLayer(8, 2, activation="tanh")
    x, labels = jr.normal(jr.key(0), (5, 2)), jr.normal(jr.key(1), (5,))
    flow = jd.flows.GradientFlow(model, jd.losses.square, jd.data.points(x, labels), time_scales={"a": 1.0, "b": 2.0, "c": 0.5})
    on = jd.polish(flow, model.init(jr.key(2)), method=method).params
    ended = jax.tree.map(lambda leaf: leaf + 1e-3 * jr.normal(jr.key(3), leaf.shape), on)
    residual = np.asarray(flow.outputs(ended) - labels)
    assert 1e-4 < np.linalg.norm(residual) < 1e-2
    found = jd.polish(flow, ended, method=method)
    assert bool(found.converged) and int(found.num_steps) <= 6
    root = np.sqrt(flat(flow.mobility(ended)))
    jacobian = np.asarray(jax.vmap(lambda row: ravel_pytree(row)[0])(flow.jacobian(ended))) * root
    nearest = -np.linalg.pinv(jacobian) @ residual
    way = (flat(found.params) - flat(ended)) / root
    np.testing.assert_allclose(np.linalg.pinv(jacobian) @ (jacobian @ way), nearest, atol=0.1 * np.linalg.norm(nearest))
    assert np.linalg.norm(way) < 1.1 * np.linalg.norm(nearest)
    np.testing.assert_allclose(flow.outputs(found.params), labels, atol=1e-9)


@pytest.mark.parametrize(
    ("k", "seeds", "spurious", "level"),
    [
        pytest.param(6, (0, 517, 716), (False, True, True), 0.02508, marks=pytest.mark.ci_slow),
        pytest.param(7, (0, 8, 42), (False, True, True), 0.02320, marks=pytest.mark.slow),
        pytest.param(8, (0, 6, 8), (False, True, True), 0.02151, marks=pytest.mark.slow),
    ],
)
def test_levels_of_spurious_minima(k, seeds, spurious, level):
    """The lowest spurious losses of k neurons and k orthonormal teachers (Safran & Shamir, arXiv 1712.08968)."""
    flow = committee(k)
    starts = jax.vmap(lambda seed: start(flow, seed))(jnp.asarray(seeds))
    ended = jax.jit(jax.vmap(lambda y: jd.solve(flow, y, 200.0, record=2, rtol=1e-4).params))(starts)
    found = jd.polish_lanes(flow, ended, method="differences", batch=2)
    assert found.converged.all() and found.gradient_norm.max() <= 1e-12
    np.testing.assert_allclose(found.loss, np.where(spurious, level, 0.0), atol=6e-6)
    groups = [jd.measure.isotropy(np.asarray(W), tolerance=1e-8).group for W in found.params["a"]]
    assert groups == [f"S_{k - 1} x S_1" if bad else f"S_{k}" for bad in spurious]


@pytest.mark.parametrize("method", EITHER)
def test_a_saddle_is_left_unless_asked_for(method):
    """In the plane of Tian's symmetric students (arXiv 1703.00560): x = y is a saddle, (1, 0) the minimum."""
    number = 4
    flow = jd.flows.SymmetricTeacherFlow(number)
    height = (np.sqrt(number - 1) - np.arccos(number**-0.5) + np.pi) / (np.pi * number)
    near = {"x": jnp.asarray(height + 0.011), "y": jnp.asarray(height - 0.005)}
    saddle = jd.polish(flow, near, saddles=True, method=method)
    assert bool(saddle.converged)
    np.testing.assert_allclose((saddle.params["x"], saddle.params["y"]), height, atol=1e-11)
    np.testing.assert_allclose(saddle.distance, np.hypot(0.011, 0.005), rtol=1e-9)
    minimum = jd.polish(flow, near, method=method)
    assert bool(minimum.converged) and float(minimum.loss) < float(saddle.loss)
    np.testing.assert_allclose((minimum.params["x"], minimum.params["y"]), (1.0, 0.0), atol=1e-9)
    assert int(jd.polish(flow, saddle.params, method=method).num_steps) == 0


def test_kinks():
    """Inside a smooth piece a ReLU network converges; a neuron that slides has no gradient to bring to zero, and the loss does not rise."""
    model = jd.models.TwoLayer(1, 1, bias=True, scaling="one", trains="bc")
    x = jnp.asarray([-1.0, 0.0, 1.0, 2.0])
    inside = jd.flows.GradientFlow(model, jd.losses.square, jd.data.points(x, jnp.asarray([0.0, 0.0, 0.6, 1.6])))
    found = jd.polish(inside, {"a": jnp.ones((1, 1)), "b": jnp.asarray([0.3]), "c": jnp.asarray([0.9])})
    assert bool(found.converged)
    np.testing.assert_allclose((found.params["b"], found.params["c"]), ([0.4], [1.0]), atol=1e-11)
    # left of the sample at 0 the loss wants the knot further right, right of it further left
    slides = jd.flows.GradientFlow(model, jd.losses.square, jd.data.points(x, jnp.asarray([0.0, -1.0, 1.2, 2.2])), frozen=("c",))
    at = jnp.asarray([-1e-6, 1e-6])
    forces = [float(slides.vector_field(0.0, {"a": jnp.ones((1, 1)), "b": b[None], "c": jnp.ones(1)})["b"][0]) for b in at]
    np.testing.assert_allclose(forces, [0.6, -0.4], atol=1e-5)
    begin = {"a": jnp.ones((1, 1)), "b": jnp.asarray([-0.1]), "c": jnp.ones(1)}
    stuck = jd.polish(slides, begin)
    assert not bool(stuck.converged) and float(stuck.gradient_norm) > 0.3
    assert slides.loss({**begin, "b": jnp.zeros(1)}) <= stuck.loss <= slides.loss(begin)
    np.testing.assert_allclose(stuck.params["b"], 0.0, atol=2e-2)


def test_nothing_recompiles_and_lanes_fail_alone():
    """Tolerances are leaves; a lane that is not finite says so, its neighbour converges."""
    traces = []

    class Counted(LinearFlow):
        def loss(self, y):
            traces.append(1)
            return super().loss(y)

    flow = Counted(jnp.diag(jnp.asarray([1.0, 2.0])))
    y = jnp.asarray([[1.0, -1.0], [jnp.nan, 0.0]])
    run = eqx.filter_jit(
        lambda y, tolerance, steps, radius: jax.vmap(lambda y: jd.polish(flow, y, tolerance=tolerance, max_steps=steps, radius=radius))(y)
    )
    found = run(y, jnp.asarray(1e-10), jnp.asarray(50), jnp.asarray(0.5))
    before = len(traces)
    again = run(y, jnp.asarray(1e-3), jnp.asarray(2), jnp.asarray(0.1))
    assert len(traces) == before
    np.testing.assert_array_equal(found.converged, [True, False])
    np.testing.assert_array_equal(found.num_steps, [3, 0])
    assert not again.converged.any()
    np.testing.assert_allclose(again.distance[0], 0.2, rtol=1e-3)  # two steps, nearly in line


def test_misuse():
    flow, y = LinearFlow(jnp.eye(2)), jnp.ones(2)
    for how in ({"method": "magic"}, {"tolerance": 0.0}, {"radius": -1.0}, {"max_steps": 0}):
        with pytest.raises(ValueError, match=next(iter(how))):
            jd.polish(flow, y, **how)
    with pytest.raises(ValueError, match="jax_enable_x64"):
        jd.polish(flow, y.astype(jnp.float32), tolerance=1e-12)
    with pytest.raises(ValueError, match="use polish"):
        jd.polish_lanes(flow, jnp.asarray(1.0))
    with pytest.raises(ValueError, match="devices is empty"):
        jd.polish_lanes(flow, y[None], devices=[])
    assert bool(jd.polish(LinearFlow(jnp.eye(2, dtype=jnp.float32)), y.astype(jnp.float32)).converged)
