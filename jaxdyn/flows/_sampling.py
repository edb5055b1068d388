"""Gradients from some of the samples: what a step of stochastic gradient descent sees."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._types import Params
from .gradient import GradientFlow
from .population import IdentityLinkFlow, PopulationFlow


def has_samples(flow: Any) -> bool:
    """Whether a flow is that of a loss on samples."""
    return isinstance(flow, GradientFlow)


def has_teacher(flow: Any) -> bool:
    """Whether a flow is that of a student and a teacher on Gaussian inputs."""
    return isinstance(flow, PopulationFlow | IdentityLinkFlow)


def loss_on_fresh(flow: Any, y: Params, batch: int, noise: Any, key: PRNGKeyArray) -> Float[Array, ""]:
    """The squared error on new Gaussian inputs, in the flow's own normalisation.

    The samples are those of `data.gaussian_teacher(batch, flow.target, dim, covariance, noise, key=key)`, in the parameters' precision.

    Args:
        flow: a population flow.
        y: the parameters.
        batch: how many samples.
        noise: the standard deviation of normal numbers added to the labels; None for none.
        key: of the samples.

    Returns:
        A number whose expectation is the flow's loss, but for half the noise's variance (all of it if the loss is without 1/2).
    """
    population, dtype = flow.linked if isinstance(flow, IdentityLinkFlow) else flow, jnp.result_type(*jax.tree.leaves(y))
    key_inputs, key_noise = jr.split(key)
    x = jr.normal(key_inputs, (batch, population.model.dim), dtype)
    if population.covariance is not None:
        x = x @ jnp.linalg.cholesky(population.covariance.astype(dtype)).T
    labels = flow.target(x)
    if noise is not None:
        labels = labels + noise.astype(dtype) * jr.normal(key_noise, (batch,), dtype)
    apply = flow.apply if isinstance(flow, IdentityLinkFlow) else flow.model.apply
    return (0.5 if population.halved else 1.0) * jnp.mean((apply(y, x) - labels) ** 2)


def loss_on_some(flow: Any, y: Params, which: Int[Array, " batch"] | None, noise: Any, key: PRNGKeyArray) -> Float[Array, ""]:
    """A function whose gradient is the mean over the chosen samples of n times each sample's own, plus that of the penalties.

    The derivative of a separable loss by one output does not depend on the others, so it is taken of the loss on all samples: a sum over
    samples is then estimated as a sum, a mean as a mean, without knowing which it is.

    Args:
        flow: a gradient flow on samples.
        y: the parameters.
        which: the samples' indices, some perhaps twice; None for all, with any loss.
        noise: the standard deviation of normal numbers added to the labels; None for none.
        key: of the noise.

    Returns:
        A number with that gradient.
    """
    data = flow.data
    apply = getattr(flow.model, "apply", flow.model)
    f = apply(y, data.x if which is None else data.x[which])
    labels = data.y
    if noise is not None:
        labels = labels + noise.astype(f.dtype) * jr.normal(key, labels.shape, f.dtype)
    if which is None:
        return flow.loss_function(f, labels) + flow.penalty(y)
    still = jax.lax.stop_gradient(f)
    outputs = jnp.zeros((data.num_samples, *f.shape[1:]), f.dtype).at[which].set(still)
    residual = jax.grad(flow.loss_function)(outputs, labels)[which]
    return data.num_samples / which.size * jnp.sum(residual * f) + flow.penalty(y)


def some_of(samples: int, batch: int, replacement: bool, key: PRNGKeyArray, step: Int[Array, ""]) -> Int[Array, " batch"]:
    """The indices of a step's mini-batch.

    Args:
        samples: how many there are.
        batch: how many are taken.
        replacement: whether each is drawn from all of them; otherwise an epoch's steps go through one permutation, whose last
            `samples` mod `batch` are left out.
        key: of the lane's draws.
        step: which step.

    Returns:
        The indices.
    """
    if replacement:
        return jr.randint(jr.fold_in(key, step), (batch,), 0, samples)
    steps = samples // batch
    order = jr.permutation(jr.fold_in(key, step // steps), samples)
    return jax.lax.dynamic_slice_in_dim(order, step % steps * batch, batch)
