"""The margin of a homogeneous network, and how far it is from a KKT point of the maximal one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._checks import check_count, check_not_negative
from .._repr import fields_html, text_of
from .._types import Params
from ..flows import check_independent
from ._checked import checked
from ._direction import Direction, check_homogeneous, direction_of, jacobian_of, signs_of
from ._gates import SLOTS, FreeGates, free_gates, neurons_of_model
from ._quadratic import constrained_least_squares

_ROUNDS = 12
"""Linearisations in the gates of deeper networks."""


class MarginKKT(NamedTuple):
    r"""How far a direction w is from a KKT point of min |w|^2 / 2 under y_i f_i(w) >= 1.

    Attributes:
        residual: $|w - \sum_i \mu_i y_i \nabla f_i| / |w|$.
        complementarity: $L \sum_i \mu_i (y_i f_i - 1) / |w|^2$, about the duals' mean excess of margin: 0 where only the smallest margins
            support.
        duals: $\mu_i$, for params rescaled to a smallest margin of 1.
        gates: of the gradients, like the pre-activations; None for networks without gates. They mean nothing at samples whose dual is 0.
        margin: the smallest y_i f_i of the unit direction; all else is NaN where it is not positive.
        num_free: of gates at zero pre-activations; what exceeds the slots stayed closed.
    """

    residual: Float[Array, ""]
    complementarity: Float[Array, ""]
    duals: Float[Array, " sample"]
    gates: PyTree | None
    margin: Float[Array, ""]
    num_free: Int[Array, ""]

    __repr__ = text_of
    _repr_html_ = fields_html


@checked
def normalised_margin(flow: Any, t: Float[Array, ""], params: Params) -> Float[Array, ""]:
    """The smallest y_i f_i at the unit direction of the params.

    Args:
        flow: a gradient flow of a homogeneous network on labels -1 and +1, or one that wraps it; a network that is not homogeneous is
            refused where all is concrete.
        t: time, unused.
        params: of any norm above 0.

    Returns:
        One number, positive where all samples are classified.

    Reference:
        Lyu & Li (2019), arXiv:1906.05890, section 4.
    """
    direction = direction_of(flow, params)
    check_homogeneous(direction)
    return jnp.min(_margins(flow, direction))


def _margins(flow: Any, direction: Direction) -> Float[Array, " sample"]:
    return signs_of(flow).astype(direction.flat.dtype) * direction.outputs(direction.flat)


@checked
def margin_kkt(
    flow: Any, params: Params, zero: float = 1e-6, *, duals: Float[Array, " sample"] | None = None, slots: int = SLOTS
) -> MarginKKT:
    r"""How far the direction of the params is from a KKT point of the max-margin problem.

    Residual $\epsilon$ and complementarity $\delta$, both without unit, are those at the duals $\mu \ge 0$ and the gates in [0, 1] that
    minimise $\epsilon^2 / 2 + \delta$. This is the duality gap of the problem with its constraints linearised at w, so it is 0 at KKT
    points and nowhere else, and needs no threshold that says which samples support. (Lyu and Li call w an
    $(\epsilon, \delta)$-approximate KKT point where residual and every $\mu_i (y_i f_i - 1)$ are below the two.) It is a convex
    quadratic programme where there is at most one hidden layer, in $\mu_i$ and $\mu_i$ times gate; in deeper networks it is linearised in
    the gates anew a few times, and what is found is an upper bound.

    Args:
        flow: as in `normalised_margin`.
        params: of any norm above 0.
        zero: a pre-activation w.h counts as zero, its gate as free, up to this times |w| |h|.
        duals: proportions in which the duals are held, only their common factor being free: for a loss with an exponential tail minus its
            derivatives by y_i f_i, which tend to the duals.
        slots: the most gates that are free, the nearest to zero.

    Returns:
        The residuals, and what they were found at.

    Raises:
        ValueError: labels are not -1 and +1, or the duals do not fit.

    Reference:
        Lyu & Li (2019), arXiv:1906.05890, section 4 and its appendix on approximate KKT points; Dutta et al. (2013).
    """
    check_not_negative("zero", zero)
    check_count("slots", slots)
    signs = signs_of(flow)
    if duals is not None and jnp.shape(duals) != signs.shape:
        raise ValueError(f"duals must hold one number a sample, shape {signs.shape}, not {jnp.shape(duals)}.")
    direction = direction_of(flow, params)
    check_independent(flow, params)
    check_homogeneous(direction)
    w, base = direction.flat, direction.base
    signs = signs.astype(w.dtype)
    plain = signs[:, None] * jacobian_of(direction, None)
    margins = _margins(flow, direction)
    margin = jnp.min(margins)
    order = (margins @ (plain @ w)) / (margins @ margins)
    safe = jnp.where(margin > 0, margin, 1.0)
    # in units in which the sum of the duals is about 1
    excess, unit = jnp.maximum(margins / safe - 1, 0.0), 1 / (order * safe)
    rays = jnp.eye(signs.size, dtype=w.dtype) if duals is None else _proportions(jnp.asarray(duals, w.dtype))[:, None]
    if base.slopes is None:
        columns = unit * plain
        share, gates, number = rays @ _solve(columns, rays, excess, w, None)[0], None, jnp.zeros((), int)
    else:
        weights = direction.params(w)
        free = free_gates(base.model, weights, base.data.x, zero, slots)
        rounds = 1 if neurons_of_model(base.model, weights, base.data.x) is not None else _ROUNDS
        share, values = _with_gates(direction, signs, rays, excess, unit, free, rounds)
        gates, number = free.gates(values), free.number
        columns = unit * signs[:, None] * jacobian_of(direction, gates)
    bad = jnp.where(margin > 0, 0.0, jnp.nan)
    return MarginKKT(
        jnp.linalg.norm(w - share @ columns) + bad,
        share @ excess + bad,
        # the rescaled params are w margin^(-1/L), so that duals in units of w change by margin^((L-2)/L)
        share * unit * safe ** ((order - 2) / order) + bad,
        gates,
        margin,
        number,
    )


def _proportions(duals: Array) -> Array:
    duals = jnp.maximum(duals, 0.0)
    duals = duals / jnp.max(duals)
    return duals / jnp.sum(duals)


def _solve(
    columns: Float[Array, "sample param"],
    rays: Float[Array, "sample ray"],
    excess: Float[Array, " sample"],
    w: Float[Array, " param"],
    gated: tuple[Float[Array, "slot param"], FreeGates] | None,
) -> tuple[Float[Array, " ray"], Float[Array, " slot"]]:
    """The multiples of rays, and duals times gates, of the smallest gap.

    Args:
        columns: the gradients of the margins, free gates closed.
        rays: the duals' proportions.
        excess: of the margins.
        w: the direction.
        gated: what each slot's gate adds to its sample's column.

    Returns:
        Two vectors; the slots' numbers are per unit of their sample's dual.
    """
    number = rays.shape[1]
    slots = 0 if gated is None else gated[1].sample.size
    matrix, linear = columns.T @ rays, excess @ rays
    identity = jnp.eye(number + slots, dtype=w.dtype)
    inequalities, start = -identity, jnp.full(number, 1.0 / number, w.dtype)
    if gated is not None:
        opening, free = gated
        # a slot's variable is at most its sample's dual; with rays of fixed proportions both are per unit of the ray
        own = jnp.ones_like(free.sample) * 0 if number == 1 else free.sample
        scale = rays[free.sample, own]
        matrix = jnp.concatenate([matrix, (jnp.where(free.free, scale, 0.0)[:, None] * opening).T], axis=1)
        linear = jnp.concatenate([linear, jnp.zeros(slots, w.dtype)])
        upper = identity[number:] - identity[own]
        inequalities = jnp.concatenate([inequalities, upper])
        start = jnp.concatenate([start, jnp.full(slots, 0.5 / number, w.dtype)])
    bounds = jnp.zeros(inequalities.shape[0], w.dtype)
    found = jnp.maximum(constrained_least_squares(matrix, w, linear, inequalities, bounds, start), 0.0)
    if gated is None:
        return found, jnp.zeros(0, w.dtype)
    dual = found[:number][own]
    gate = jnp.where(dual > 0, jnp.minimum(found[number:] / jnp.where(dual > 0, dual, 1.0), 1.0), 0.0)
    return found[:number], gate


def _with_gates(
    direction: Direction, signs: Array, rays: Array, excess: Array, unit: Array, free: FreeGates, rounds: int
) -> tuple[Float[Array, " sample"], Float[Array, " slot"]]:
    """The duals, in their units, and the slots' gates."""
    w = direction.flat

    def gradient(values: Array) -> Array:
        return unit * jax.grad(lambda flat: signs @ direction.outputs(flat, free.gates(values)))(w)

    def gap(share: Array, values: Array) -> Array:
        columns = unit * signs[:, None] * jacobian_of(direction, free.gates(values))
        return jnp.sum((w - share @ columns) ** 2) / 2 + share @ excess

    def one(state: tuple, _: None) -> tuple[tuple, None]:
        around, share, values, least = state
        columns = unit * signs[:, None] * jacobian_of(direction, free.gates(around))
        opening = jax.jacfwd(gradient)(around).T
        closed = columns - jnp.zeros_like(columns).at[free.sample].add(jnp.where(free.free, around, 0.0)[:, None] * opening)
        multiples, gates = _solve(closed, rays, excess, w, (opening, free))
        new = rays @ multiples
        size = gap(new, gates)
        better = size < least
        kept = (jnp.where(better, new, share), jnp.where(better, gates, values), jnp.where(better, size, least))
        # a step that does not descend is tried again at half its length, from the best point
        return (jnp.where(better, gates, (around + kept[1]) / 2), *kept), None

    start = jnp.full(free.free.shape, 0.0 if rounds == 1 else 0.5, w.dtype)
    first = (start, jnp.zeros_like(signs), start, jnp.asarray(jnp.inf, w.dtype))
    (_, share, values, _), _ = jax.lax.scan(one, first, None, length=rounds)
    return share, values
