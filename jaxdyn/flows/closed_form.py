"""The linearised flow of a square loss in closed form, at any time."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float

from .._checks import is_concrete
from .._repr import Readable
from .._types import Params, as_leaf
from ..losses import MeanSquare, Square
from ._relaxation import Modes, modes_of, relaxation
from .gradient import GradientFlow
from .independence import check_independent
from .linearised import LinearisedFlow
from .protocol import check_shapes

MOST_PARAMS = 2000
"""Weight decay together with several time scales takes a decomposition as large as there are parameters; beyond so many it is refused."""


class LinearisedSolution(Readable, eqx.Module):
    r"""Where the linearised flow of a square loss is at any time, infinity included, from one singular value decomposition.

    With the Jacobian J of the outputs f on the samples, the loss's second derivative D (1 for `losses.square`, 1/samples for
    `losses.mean_square`) and the mobility S^2, the outputs obey

    $$f(t) - y = e^{-K D t} (f_0 - y), \qquad \theta(t) = \theta_0 - S^2 J^T K^{-1} (1 - e^{-K D t}) (f_0 - y), \qquad K = J S^2 J^T,$$

    and at $t = \infty$ the parameters are the least-squares solution nearest to the start, in the metric $S^{-2}$. All is computed from
    the singular values $\sigma$ of $A = D^{1/2} J S$, not from the kernel, whose eigenvalues lose half of the digits. Modes below
    max(samples, parameters) units of rounding of the largest $\sigma$ do not move, so a singular kernel (repeated samples, more samples
    than parameters) gives finite numbers. Modes not far above are noise of the Jacobian's rounding, and at infinity they too have moved:
    look at `condition`.

    Weight decay $\lambda$ adds $\lambda s^2$ to each mode's rate. With more than one time scale it is treated as further samples
    $\sqrt\lambda \, \theta_k$ of target 0, and the modes are as many as the parameters.

    It can be vmapped over starts, and differentiated once, forwards and backwards, by times, labels, starts and whatever else the flow is
    made of; coinciding singular values do no harm. At infinity the derivative is the one at constant rank. At weight decay 0 with several
    time scales there is no derivative by the weight decay. Second derivatives are those by times and labels; others raise.

    It holds A and its singular vectors: memory for two to three Jacobians.

    Attributes:
        flow: the linearised flow.
        start: its parameters at time 0.
        rows: A, with a row for each parameter added where weight decay meets several time scales.
        residual: D^(1/2) (f_0 - y), and what these rows want.
        scale: S, one number a parameter that moves.
        decay: what weight decay adds to each rate.
        modes: the singular values and vectors of A.

    Reference:
        Lee et al. (2019), Wide neural networks of any depth evolve as linear models under gradient descent, arXiv 1902.06720, eq. 8-11.
    """

    flow: LinearisedFlow
    start: Params
    rows: Float[Array, "row param"]
    residual: Float[Array, " row"]
    scale: Float[Array, " param"]
    decay: Float[Array, ""]
    modes: Modes

    def __init__(self, flow: LinearisedFlow | GradientFlow, start: Params):
        """The closed form from a start.

        Args:
            flow: the linearised flow; or a network's, which is linearised around the start.
            start: the flow's parameters at time 0, `{"now": theta, "start": theta_0}` for a `LinearisedFlow` without a point.

        Raises:
            ValueError: the flow is of another kind, the loss is no square loss, there is a norm barrier, nothing moves, the start does not
                fit, or weight decay meets several time scales and more than `MOST_PARAMS` parameters.
        """
        if isinstance(flow, GradientFlow):
            flow = LinearisedFlow(flow, start)
        inner = _checked(flow, start)
        check_shapes(flow, start)
        check_independent(flow, start)
        moves = flow.trainable(start)
        moving, still = eqx.partition(start, moves)
        theta = ravel_pytree(moving)[0]
        if theta.size == 0:
            raise ValueError("no parameter moves, so there is nothing to solve: leave one of them out of `frozen`.")
        mobility = ravel_pytree(eqx.filter(flow.mobility(start), moves))[0].astype(theta.dtype)
        f = flow.outputs(start)
        root = _root_of_curvature(inner, f)
        self.flow, self.start, self.scale = flow, start, jnp.sqrt(mobility)
        self.rows = root * _jacobian(inner, moving, still, f) * self.scale[None, :]
        self.residual = root * (f - inner.data.y.astype(f.dtype)).reshape(-1)
        self.decay = jnp.zeros((), theta.dtype)
        if inner.weight_decay is not None:
            weight = inner.weight_decay.astype(theta.dtype)
            if _has_one_scale(inner, moves):
                self.decay = weight * mobility[0]
            elif theta.size > MOST_PARAMS:
                raise ValueError(
                    f"weight decay together with several time scales takes at most {MOST_PARAMS} parameters that move, but there are "
                    f"{theta.size}: give one time scale, no weight decay, or integrate the flow with jaxdyn.solve."
                )
            else:
                self.rows = jnp.concatenate([self.rows, jnp.diag(jnp.sqrt(weight) * self.scale)])
                self.residual = jnp.concatenate([self.residual, jnp.sqrt(weight) * theta])
        self.modes = modes_of(self.rows)

    @property
    def eigenvalues(self) -> Float[Array, " mode"]:
        """The eigenvalues of D^(1/2) K D^(1/2), the largest first, 0 for modes that do not move; weight decay adds `decay` to each.

        For `losses.square` they are those of the neural tangent kernel. With weight decay and several time scales they are those of
        S (J^T D J + weight decay) S.
        """
        return self.modes.sizes**2

    @property
    def rank(self) -> Array:
        """How many modes move; fewer than outputs on the samples (or parameters, if these are fewer) for a singular kernel."""
        return jnp.sum(self.modes.sizes > 0)

    @property
    def condition(self) -> Float[Array, ""]:
        """The largest eigenvalue over the smallest of a mode that moves; 1 if none moves.

        So many times longer the slowest mode takes than the fastest, without weight decay.
        """
        sizes = self.modes.sizes
        moves = jnp.any(sizes > 0)
        return (jnp.where(moves, sizes[0], 1.0) / jnp.where(moves, jnp.min(jnp.where(sizes > 0, sizes, jnp.inf)), 1.0)) ** 2

    def params(self, t: ArrayLike) -> Params:
        """The parameters.

        Args:
            t: a time or a vector of times, infinity included.

        Returns:
            A pytree like `start`, with a leading axis for a vector of times.
        """
        return self._at(t, self._params)

    def outputs(self, t: ArrayLike) -> Float[Array, "..."]:
        """The linearised network on the samples.

        Args:
            t: a time or a vector of times, infinity included.

        Returns:
            Outputs shaped like the targets, with a leading axis for a vector of times.
        """
        y = self.flow.inner.data.y.astype(self.residual.dtype)
        root = _root_of_curvature(self.flow.inner, y)
        return self._at(t, lambda t: y + self._relaxed(t)[1][: y.size].reshape(y.shape) / root)

    def outputs_at(self, x: Float[Array, "point dim"], t: ArrayLike) -> Float[Array, "..."]:
        """The linearised network at other inputs.

        Args:
            x: inputs, one row a point.
            t: a time or a vector of times, infinity included.

        Returns:
            What the network returns, with a leading axis for a vector of times.
        """
        x = jnp.asarray(x, self.residual.dtype)
        return self._at(t, lambda t: self.flow.inner.model.apply(self._params(t), x))

    def loss(self, t: ArrayLike) -> Float[Array, "*time"]:
        """The loss, weight decay included, to its last digits where it is small.

        Args:
            t: a time or a vector of times, infinity included.

        Returns:
            One number a time, in the loss's own convention.
        """
        num_outputs = self.flow.inner.data.y.size
        return self._at(t, lambda t: 0.5 * jnp.sum(self._relaxed(t)[1][:num_outputs] ** 2) + self.flow.penalty(self._params(t)))

    def _at(self, t: ArrayLike, function: Callable[[Array], Any]) -> Any:
        t = as_leaf(t, "t").astype(self.residual.dtype)
        if is_concrete(t) and not np.all(np.asarray(t) >= 0):
            raise ValueError("t must be zero or positive, infinity included: the flow is followed forwards.")
        if t.ndim > 1:
            raise ValueError(f"t must be a time or a vector of times, but has shape {t.shape}: ravel it.")
        return jax.vmap(function)(t) if t.ndim else function(t)

    def _theta(self) -> tuple[Array, Callable[[Array], Params], Params]:
        moving, still = eqx.partition(self.start, self.flow.trainable(self.start))
        return *ravel_pytree(moving), still

    def _relaxed(self, t: Array) -> tuple[Array, Array]:
        theta = self._theta()[0]
        own = jnp.where(self.scale > 0, theta / jnp.where(self.scale > 0, self.scale, 1.0), 0.0)
        return relaxation(self.rows, self.residual, own, self.decay, t, self.modes)

    def _params(self, t: Array) -> Params:
        theta, unravel, still = self._theta()
        return eqx.combine(unravel(theta + self.scale * self._relaxed(t)[0]), still)


def _checked(flow: Any, start: Params) -> GradientFlow:
    if not isinstance(flow, LinearisedFlow):
        raise ValueError(f"the closed form takes a LinearisedFlow or a GradientFlow, not a {type(flow).__name__}.")
    inner = flow.inner
    if not isinstance(inner.loss_function, Square | MeanSquare):
        raise ValueError(
            "only square losses have a closed form, jaxdyn.losses.square and jaxdyn.losses.mean_square, but the loss is "
            f"{inner.loss_function!r}: integrate the flow with jaxdyn.solve."
        )
    if inner.norm_barrier is not None:
        raise ValueError(
            "a norm barrier is not quadratic, so there is no closed form: leave it out, or integrate the flow with jaxdyn.solve."
        )
    if inner.model.point is None and not (isinstance(start, dict) and set(start) == {"now", "start"}):
        raise ValueError('this flow linearises each start around itself: give it {"now": theta, "start": theta_0}, as flow.init(key) does.')
    return inner


def _root_of_curvature(inner: GradientFlow, f: Array) -> float:
    return 1.0 if isinstance(inner.loss_function, Square) else f.shape[0] ** -0.5


def _has_one_scale(inner: GradientFlow, moves: Params) -> bool:
    """Whether one number scales all that moves, as far as shapes tell; values may be traced."""
    if inner.time_scales is None:
        return True
    covering = jax.tree.map(lambda scale, part: scale if any(jax.tree.leaves(part)) else None, inner.time_scales, moves)
    leaves = jax.tree.leaves(covering)
    return len(leaves) == 1 and leaves[0].size == 1


def _jacobian(inner: GradientFlow, moving: Params, still: Params, f: Array) -> Float[Array, "output param"]:
    """The outputs' derivatives by what moves, one row an output; not by the point of linearisation, so not `inner.jacobian`."""

    def row(x: Array) -> Params:
        return jax.jacrev(lambda moving: inner.model.apply(eqx.combine(moving, still), x[None])[0])(moving)

    if inner.needs_all_outputs:
        rows = jax.jacrev(lambda moving: inner.outputs(eqx.combine(moving, still)))(moving)
    else:
        rows = jax.vmap(row)(inner.data.x)
    return jnp.concatenate([leaf.reshape(f.size, -1) for leaf in jax.tree.leaves(rows)], axis=1)
