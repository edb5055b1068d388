"""From the end of a flow to the stationary point there."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array

from .._types import Params
from .checked import check_call
from .polishing import Polished, Polishing, PolishSettings, polish_settings


def polish(
    flow: Any,
    params: Params,
    *,
    tolerance: float | Array | None = None,
    max_steps: int | Array = 100,
    radius: float | Array | None = None,
    saddles: bool = False,
    method: str | None = None,
) -> Polished:
    r"""Goes on from the end of a flow to a stationary point of its loss, by Newton's method in a trust region.

    Steps are measured in the flow's own metric (parameters over the roots of the time scales). Singular Hessians are no trouble: where the
    minima are a manifold the steps are across it, so the distance moved is of the order of the distance from it. Where the loss falls
    like a power higher than two the convergence is linear, by 1/4 of the gradient a step for a third power.

    Without `saddles` the loss never rises beyond its rounding, and a step that meets negative curvature descends along it, as the flow
    would: it leaves a saddle. A start whose gradient is within the tolerance is left where it is, be it a saddle. With `saddles` the steps
    descend half the squared gradient, so the nearest stationary point is found whatever its index, and the loss may rise. Then a local
    minimum of the gradient's norm that is not stationary ends as not converged.

    The loss of a (leaky) ReLU network on samples has kinks: it converges inside a smooth piece, across kinks on the way, and where neurons
    slide there is no gradient to bring to zero and the outcome is not converged.

    It is pure: use it under `jit` and `vmap`. A batch takes as long as its slowest lane.

    Args:
        flow: one of a gradient: `vector_field` is minus that of `loss`, times `mobility` where it has one.
        params: where to begin.
        tolerance: of the gradient's Euclidean norm; 1e-12 in float64, 1e-4 in float32 by default.
        max_steps: steps to try.
        radius: the longest step, in the flow's metric; a tenth of the parameters' norm by default.
        saddles: see above.
        method: "eigen" decomposes the Hessian, the default up to 512 parameters and the most robust; "products" is the method of conjugate
            gradients by products with the Hessian, the default beyond; "differences" takes these from differences of the gradient, often
            the fastest, with the same point at the end.

    Returns:
        The point and what it took. Numerical failure is `converged=False`, never an exception; misuse is a `ValueError`.

    Reference:
        Conn, Gould & Toint (2000), Trust-Region Methods, chapters 6 and 7; Dauphin et al. (2014), arXiv 1406.2572, section 5, for |H| in
        place of H; Dembo, Eisenstat & Steihaug (1982), SIAM J. Numer. Anal. 19, 400, for what a step may leave of the gradient; Hager &
        Zhang (2005), SIAM J. Optim. 16, 170, section 4.1, for gains below the rounding of the loss.
    """
    how = polish_settings(params, tolerance, max_steps, radius, saddles, method)
    check_call(flow, params, (), {})
    return _polish(flow, params, how)


@eqx.filter_jit
def _polish(flow: Any, params: Params, how: PolishSettings) -> Polished:
    polishing = Polishing(flow, params, how)
    return polishing.report(jax.lax.while_loop(lambda at: polishing.is_running(at), lambda at: polishing.step(at), polishing.begin()))
