"""Kinks in float32: the same ends, steps and gates as in float64, where the thresholds must follow the precision."""

from functools import partial

import diffrax as dfx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxdyn as jd
from jaxdyn.solve.kinks.events import NEVER, roots

RTOL = 1e-4
LOCATE = jax.jit(roots)


def starts(flow, seeds, dtype):
    """Starts that float32 holds exactly, in either precision."""

    def one(seed):
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32).astype(dtype), flow.init(jr.fold_in(jr.key(0), seed)))

    return jax.vmap(one)(jnp.asarray(seeds))


def flat(params):
    return np.asarray(jax.vmap(lambda p: ravel_pytree(p)[0])(params), float)


def ends(flow, seeds, dtype, rtols, **how):
    """Solutions at each tolerance, in one program."""

    @jax.jit
    @partial(jax.vmap, in_axes=(None, 0))
    @partial(jax.vmap, in_axes=(0, None))
    def run(params, rtol):
        return jd.solve(flow, params, rtol=rtol, record=2, max_steps=3000, **how)

    sol = run(starts(flow, seeds, dtype), jnp.asarray(rtols, dtype))
    return [jax.tree.map(lambda leaf, k=k: leaf[k], sol) for k in range(len(rtols))]


def total(sol):
    return np.asarray(sol.certificate.num_accepted_steps + sol.certificate.num_rejected_steps)


def compare(flow, seeds, **how):
    """Float32 against float64 at the same tolerance, and against float64 at a fine one."""
    (single,), (same, fine) = (
        ends(flow, seeds, dtype, rtols, **how) for dtype, rtols in ((jnp.float32, [RTOL]), (jnp.float64, [RTOL, 1e-8]))
    )
    np.testing.assert_array_equal(fine.outcome, jd.Outcome.t1_reached)
    np.testing.assert_array_equal(single.outcome, jd.Outcome.t1_reached)
    assert np.all(total(single) <= 3 * total(same) + 50), (total(single), total(same))
    truth = flat(fine.params)
    assert np.max(np.abs(flat(single.params) - truth) / (1 + np.abs(truth))) <= 20 * RTOL
    assert np.all(np.asarray(single.certificate.num_kinks) > 0)
    return single


PASSED = jd.flows.GradientFlow(jd.models.MLP((5,), 1, True, "relu"), jd.losses.square, jd.data.sinusoid(6))
"""Seeds 1, 3, 4, 6, 8 and 11 used to flip one gate without end: the rounding of a pre-activation, 3e-8, counted as a sign."""


def assert_gates(params, kinks):
    """Each is that of the sign of its pre-activation, but on a surface."""
    z = np.asarray(ravel_pytree(PASSED.preactivations(params))[0])
    against = (np.asarray(kinks.gates) > 0.5) != (z > 0)
    assert np.all(~against | (np.asarray(kinks.shares) >= 0) | (np.abs(z) <= RTOL))


@pytest.mark.ci_slow
def test_a_kink_of_an_mlp_is_passed():
    start = jax.tree.map(lambda leaf: leaf[0], starts(PASSED, [1], jnp.float32))
    sol = jd.solve(PASSED, start, t1=50.0, rtol=RTOL, record=2, solver=dfx.Tsit5(), max_steps=3000)
    assert sol.fate is jd.Outcome.t1_reached and int(sol.certificate.num_kinks) > 0
    assert_gates(sol.params, sol.state.kinks)


@pytest.mark.slow
def test_kinks_of_mlps_are_passed_as_in_float64():
    single = compare(PASSED, [1, 3, 4, 6, 8, 11], t1=50.0, solver=dfx.Tsit5())
    for k in range(6):
        assert_gates(*(jax.tree.map(lambda leaf, k=k: leaf[k], part) for part in (single.params, single.state.kinks)))


@pytest.mark.slow
def test_a_two_layer_network_whose_dense_output_is_no_polynomial():
    """Kinks polished on the dense output of `KernelExponential`, to what float32 resolves; and slides read off the end alone."""
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(width=6), jd.losses.square, jd.data.sinusoid(6))
    single = compare(flow, [0, 1, 2, 3], t1=10.0, solver=jd.KernelExponential())
    slides = np.sort(np.asarray(single.state.kinks.slides), axis=1)
    found = np.stack([
        jd.measure.sliding_gates(flow, jnp.asarray(10.0), jax.tree.map(lambda leaf, k=k: leaf[k], single.params)) for k in range(4)
    ])
    number = (slides >= 0).sum(axis=(1, 2))
    assert number.sum() > 0
    # the end alone cannot tell a slide from a pre-activation that is on its way through zero
    assert np.all(np.isfinite(found).sum(axis=(1, 2)) >= number)


def quartic(z0, d0, z1, d1, middle):
    """The coefficients, highest first, of the polynomial of degree 4 with these values and slopes."""
    rows = [[0, 0, 0, 0, 1], [0, 0, 0, 1, 0], [1, 1, 1, 1, 1], [4, 3, 2, 1, 0], [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]]
    return np.linalg.solve(np.asarray(rows, float), [z0, d0, z1, d1, middle])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("on_surface", [False, True])
def test_a_located_root_is_one_of_the_quartic_where_it_falls(dtype, on_surface):
    """Against numpy's roots, where the middle and the cubic of both ends disagree; a start on the surface that rises is no fall."""
    rng, n = np.random.default_rng(0), 400
    z0 = np.zeros(n) if on_surface else rng.uniform(0.05, 1.0, n)
    d0 = rng.uniform(0.2, 3.0, n) if on_surface else rng.normal(size=n)
    z1, d1, middle = -rng.uniform(0.05, 1.0, n), rng.normal(size=n), rng.normal(size=n)
    least = np.full(n, 16 * jnp.finfo(dtype).eps)
    values = [jnp.asarray(value, dtype) for value in (z0, d0, z1, d1, middle, least, np.zeros(n))]
    s = np.asarray(LOCATE(*values)[0], float)
    tolerance = 1e-3 if dtype == jnp.float32 else 1e-6
    for k in range(n):
        poly = quartic(z0[k], d0[k], z1[k], d1[k], middle[k])
        places = np.roots(poly)
        places = places[np.abs(places.imag) < 1e-9].real
        falls = [p for p in places if 1e-9 < p <= 1 and np.polyval(np.polyder(poly), p) < 0]
        assert min(abs(s[k] - p) for p in falls) < tolerance, (k, s[k], falls)
        if middle[k] < 0:
            assert s[k] < 0.5


def test_a_dip_of_the_cubic_that_the_middle_denies_is_no_kink():
    """From .2 with slope -1 to .2 with slope 1 the cubic falls to -.05; with .1 in the middle the quartic stays positive."""
    middle = np.array([0.1, -0.05])
    values = [jnp.asarray(np.broadcast_to(value, 2)) for value in (0.2, -1.0, 0.2, 1.0, middle, 1e-12, 0.0)]
    denied, s = (float(found) for found in LOCATE(*values)[0])
    poly = quartic(0.2, -1.0, 0.2, 1.0, 0.1)
    assert np.polyval(poly, np.linspace(0, 1, 1001)).min() > 0
    assert denied == NEVER
    np.testing.assert_allclose(np.polyval(quartic(0.2, -1.0, 0.2, 1.0, -0.05), s), 0.0, atol=1e-9)
    assert s < 0.5
