"""The balanced split against 80 digits."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdyn.models import balanced_split

DELTAS = st.one_of(st.just(0.0), st.floats(1e-12, 1e6), st.floats(-1e6, -1e-12))
PRODUCTS = st.one_of(st.floats(1e-12, 1e4), st.floats(-1e4, -1e-12))


def exactly(product, delta, degree):
    with mpmath.workdps(80):
        root = mpmath.sqrt(mpmath.mpf(delta) ** 2 + 4 * degree * mpmath.mpf(product) ** 2)
        return float(mpmath.sqrt((root + delta) / 2 / degree)), float(mpmath.sqrt((root - delta) / 2))


@settings(max_examples=150, deadline=None)
@given(PRODUCTS, DELTAS, st.sampled_from([1, 2, 5]))
def test_split_solves_both_equations_to_full_relative_accuracy(product, delta, degree):
    c, w = map(float, balanced_split(product, delta, degree))
    np.testing.assert_allclose((c, w), exactly(product, delta, degree), rtol=4e-15)


def test_float32_does_not_lose_small_products():
    c, w = balanced_split(jnp.float32(1e-24), 0.0)
    assert c.dtype == w.dtype == jnp.float32
    np.testing.assert_allclose([c, w], 1e-12, rtol=1e-6)


def test_one_of_the_two_may_vanish():
    np.testing.assert_allclose(balanced_split(0.0, 8.0, 2), (2.0, 0.0), rtol=1e-15)
    np.testing.assert_allclose(balanced_split(0.0, -9.0, 2), (0.0, 3.0), rtol=1e-15)
    np.testing.assert_array_equal(balanced_split(0.0, 0.0, 2), (0.0, 0.0))


def test_derivatives():
    for degree in (1, 3):
        jacobian = jax.jit(jax.jacrev(lambda q, degree=degree: jnp.stack(balanced_split(q[0], q[1], degree))))
        for delta in (-2.0, 0.0, 0.7):
            for product in (-0.3, 0.8):
                got = jacobian(jnp.array([product, delta]))
                h = 1e-6
                for k, step in enumerate(((h, 0.0), (0.0, h))):
                    above = np.array(exactly(product + step[0], delta + step[1], degree))
                    below = np.array(exactly(product - step[0], delta - step[1], degree))
                    np.testing.assert_allclose(got[:, k], (above - below) / (2 * h), rtol=1e-7, atol=1e-9)


def test_derivatives_are_finite_where_nothing_is_to_be_split():
    got = jax.jit(jax.jacrev(lambda q: jnp.stack(balanced_split(q[0], q[1]))))(jnp.zeros(2))
    assert jnp.all(jnp.isfinite(got))
