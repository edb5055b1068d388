"""The spectrum of a loss's Hessian: dense, its ends, or its density."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_count, check_key
from .._repr import fields_html, text_of
from .._types import Params
from ..solve import dense_hessian
from ._checked import checked
from ._lanczos import gradient_of_trained, lanczos


@checked
def hessian(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, "param param"]:
    """The second derivatives of the flow's loss by the leaves that move, time scales left out.

    For a loss with kinks they are those of the smooth piece around the point.

    Args:
        flow: any flow.
        t: time, unused.
        params: the parameters.

    Returns:
        A symmetric matrix; its rows in the order of `jax.flatten_util.ravel_pytree` of the leaves that move.
    """
    gradient, flat = gradient_of_trained(flow, params)
    return dense_hessian(gradient, flat)


@checked
def hessian_spectrum(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, " mode"]:
    """The eigenvalues of `hessian`, by dense decomposition.

    Args:
        flow: any flow.
        t: time, unused.
        params: the parameters.

    Returns:
        One number a parameter that moves, ascending; in units of the loss over squared parameters.
    """
    return jnp.linalg.eigvalsh(hessian(flow, t, params))


hessian_spectrum.dims = "mode"


class HessianEnds(NamedTuple):
    """The ends of a Hessian's spectrum.

    Attributes:
        smallest: the smallest eigenvalue, from above.
        largest: the largest one, from below.
        error: how far either may be from an eigenvalue; that it is the outermost one is likely, not certain.
    """

    smallest: Float[Array, ""]
    largest: Float[Array, ""]
    error: Float[Array, ""]

    __repr__ = text_of
    _repr_html_ = fields_html


@checked
def hessian_ends(flow: Any, params: Params, *, key: PRNGKeyArray, num_steps: int = 80) -> HessianEnds:
    """The extreme eigenvalues of a large Hessian, by the method of Lanczos from a random start.

    Args:
        flow: any flow.
        params: the parameters.
        key: of the start.
        num_steps: products with the Hessian, and vectors that are kept.

    Returns:
        The ends.

    Reference:
        Golub & Van Loan (2013), Matrix Computations, theorem 10.1.4 for the convergence, section 10.1.4 for the error.
    """
    check_key(key)
    num_steps = check_count("num_steps", num_steps)
    gradient, flat = gradient_of_trained(flow, params)
    product = jax.linearize(gradient, flat)[1]
    found = lanczos(product, jr.normal(key, flat.shape, flat.dtype), min(num_steps, flat.size))
    return HessianEnds(found.values[0], found.values[-1], jnp.maximum(found.errors[0], found.errors[-1]))


class SpectralDensity(NamedTuple):
    """A Hessian's density of eigenvalues, as point masses.

    Attributes:
        nodes: where they are.
        weights: the masses, each row's sum being 1.
    """

    nodes: Float[Array, "probe step"]
    weights: Float[Array, "probe step"]

    __repr__ = text_of
    _repr_html_ = fields_html

    def smoothed(self, x: Float[Array, " point"], width: float | Array) -> Float[Array, " point"]:
        """The density convolved with a normal one.

        Args:
            x: where.
            width: the deviation of the normal density.

        Returns:
            A share of the eigenvalues per unit of x.
        """
        bell = jax.scipy.stats.norm.pdf(x[:, None], self.nodes.reshape(1, -1), width)
        return bell @ self.weights.ravel() / self.nodes.shape[0]

    def below(self, x: Float[Array, " point"]) -> Float[Array, " point"]:
        """The share of the eigenvalues below x."""
        return (self.nodes.reshape(1, -1) < x[:, None]) @ self.weights.ravel() / self.nodes.shape[0]


@checked
def hessian_density(flow: Any, params: Params, *, key: PRNGKeyArray, num_probes: int = 8, num_steps: int = 80) -> SpectralDensity:
    r"""The density of the Hessian's eigenvalues by stochastic Lanczos quadrature.

    Each random probe's quadrature is exact for polynomials of degree $2 \cdot$ `num_steps` $- 1$ of the Hessian, between it and itself;
    their mean has the relative deviation $\sqrt{2/(\mathrm{param} \cdot \mathrm{probe})}$ at most.

    Args:
        flow: any flow.
        params: the parameters.
        key: of the probes.
        num_probes: how many; they run one after the other.
        num_steps: products with the Hessian a probe.

    Returns:
        The density.

    Reference:
        Ubaru, Chen & Saad (2017), SIAM J. Matrix Anal. Appl. 38, 1075, algorithm 1; Ghorbani, Krishnan & Xiao (2019), arXiv 1901.10159,
        section 2.
    """
    check_key(key)
    num_probes, num_steps = check_count("num_probes", num_probes), check_count("num_steps", num_steps)
    gradient, flat = gradient_of_trained(flow, params)
    product = jax.linearize(gradient, flat)[1]
    starts = jr.normal(key, (num_probes, flat.size), flat.dtype)
    found = jax.lax.map(lambda start: lanczos(product, start, min(num_steps, flat.size)), starts)
    return SpectralDensity(found.values, found.weights)
