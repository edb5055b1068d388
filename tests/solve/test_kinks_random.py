"""Random networks, degenerate ones included: every lane reaches its end, and its loss never rises."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdyn as jd
from jaxdyn.solve import Outcome

KINDS = ("Gaussian", "rounded", "repeated", "zeros", "still", "small")
FEW = ((1, 9, 12, True), (3, 8, 6, False))
MANY = (
    (1, 30, 64, True),
    (1, 1, 1, True),
    (2, 12, 40, True),
    (2, 20, 16, True),
    (3, 7, 5, False),
    (4, 30, 64, False),
    (5, 15, 32, True),
    (6, 3, 20, False),
    (7, 24, 48, True),
    (8, 2, 2, False),
)
"""Inputs, samples, neurons, and whether there is a bias."""


def problem(seed, kind, shape):
    """Inputs, targets and start; all Gaussian but for what the kind says."""
    (d, n, m, _), rng = shape, np.random.default_rng(seed)
    x, y, a, b, c = (rng.normal(size=size) for size in ((n, d), n, (m, d), m, m))
    match kind:
        case "rounded":  # pre-activations of exactly zero, repeated and parallel samples, neurons alike
            x, y, a, b, c = (np.round(part) for part in (x, y, a, b, c))
        case "repeated":  # with different targets
            x[::2] = x[0]
        case "zeros":  # a sample, biases, and outer weights
            x[-1], b[:], c[::3] = 0, 0, 0
        case "still":  # inner weights of zero, and samples at both sides of a direction
            a[::2], b[::2] = 0, 0
            x[1:] *= np.sign(rng.normal(size=(n - 1, 1)))
        case "small":  # of which many neurons turn the same way
            x, a, b = np.abs(x), 0.1 * a, 0.1 * b
    return x, y, a, b, c


def solved(bias, t1, x, y, a, b, c):
    model = jd.models.TwoLayer(a.shape[0], dim=a.shape[1], bias=bias)
    flow = jd.flows.GradientFlow(model, jd.losses.mean_square, jd.data.points(x, y))
    start = {"a": a, "c": c} | ({"b": b} if bias else {})
    end = jd.solve(flow, start, t1=t1, rtol=1e-8, record=2, max_steps=5000)
    return end.outcome, end.certificate


@cache
def alone(bias):
    return jax.jit(lambda *numbers: solved(bias, 10.0, *numbers))


def is_well(outcome, certificate):
    """Whether the lanes reached their end, and their loss did not rise."""
    assert np.all(np.asarray(outcome) == int(Outcome.t1_reached)), np.flatnonzero(np.asarray(outcome) != int(Outcome.t1_reached))
    rise, begin = np.asarray(certificate.largest_loss_increase), np.asarray(certificate.loss_start)
    assert np.all(rise <= 1e-6 * begin + 1e-20), np.max(rise / (begin + 1e-14))


@pytest.mark.ci_slow
@settings(derandomize=True, deadline=None, max_examples=60, database=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS), shape=st.sampled_from(FEW))
def test_some_networks(seed, kind, shape):
    outcome, certificate = alone(shape[-1])(*map(jnp.asarray, problem(seed, kind, shape)))
    is_well(outcome, certificate)
    assert int(certificate.num_kinks) >= int(certificate.num_slides) >= 0


@pytest.mark.slow
@pytest.mark.parametrize("shape", MANY, ids=str)
def test_a_thousand_networks(shape):
    """A hundred of each shape, of all kinds."""
    problems = [problem(seed, KINDS[seed % len(KINDS)], shape) for seed in range(100)]
    lanes = jax.jit(jax.vmap(lambda *numbers: solved(shape[-1], 10.0, *numbers)))
    outcome, certificate = lanes(*(jnp.asarray(np.stack(part)) for part in zip(*problems, strict=True)))
    is_well(outcome, certificate)
    assert int(np.sum(certificate.num_kinks)) > 10
