"""Finite-time Lyapunov exponents: how fast a lane's perturbations grow or shrink, over any number of orders of magnitude."""

from typing import Any, NamedTuple, Unpack

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_count
from .._repr import fields_html, text_of
from .._types import Params
from .follow import is_running
from .lane import Lane
from .outcome import Outcome
from .settings import check_key, check_params
from .state import LaneState, Settings
from .tangents import TangentOptions, prepared, pushed, step_along

SWEEPS = 30
"""Jacobi's method doubles its digits with each sweep; a dozen are enough."""


class LyapunovExponents(NamedTuple):
    """How perturbations of a start have grown.

    Attributes:
        exponents: the logarithms of the singular values of the tangent flow over the time passed, the largest first; minus infinity for
            directions that are lost, as by a neuron that slides. In inverse time.
        directions: the perturbations of the start that grow so, orthonormal in the Euclidean metric; a pytree like the parameters, each
            leaf with a leading axis `direction`.
        t: when the lane ended.
        outcome: why, an `Outcome` as an integer.
    """

    exponents: Float[Array, " direction"]
    directions: Params
    t: Float[Array, ""]
    outcome: Array

    __repr__ = text_of
    _repr_html_ = fields_html


def lyapunov_exponents(
    flow: Any,
    start: Params,
    t1: float | Array,
    *,
    t0: float = 0.0,
    count: int | None = None,
    key: PRNGKeyArray | None = None,
    **how: Unpack[TangentOptions],
) -> LyapunovExponents:
    r"""The finite-time Lyapunov exponents of a lane, $\frac{1}{t} \log \sigma_i(D\phi_t)$.

    Perturbations are carried along as by `tangents` and made orthonormal after each step, so nothing over- or underflows; what that
    divides out is a product of triangular matrices, whose singular values are taken in logarithms. With all directions the exponents are
    those of $D\phi_t$, and their sum is $-\frac{1}{t} \int \mathrm{tr}(H) \, dt$, with H the Hessian times the time scales (Liouville).
    With fewer they are those of $D\phi_t$ on a random subspace: none is above its true value (Courant & Fischer), and what is missing
    falls like 1/t where the exponents' limits are distinct.

    Steps resolve the fastest rate among the directions, so a lane costs about that rate times the time, at `count` forward derivatives a
    step. The error of an exponent is some `rtol` times that rate. A direction that outgrows another by more than the precision has digits,
    only to collapse below it later, takes the other's digits with it. Frozen parameters count as directions.

    Args:
        flow: what to integrate; a gradient flow, or any other.
        start: the parameters.
        t1: end time.
        t0: start time.
        count: how many exponents; all by default.
        key: of the random directions to begin with; `jax.random.key(0)` by default.
        **how: `solver` (an explicit one), `rtol`, `atol`, `dt0`, `max_steps`, `norm_bound` and `locate_kinks`, as in `solve`.

    Returns:
        The exponents, and the directions that they belong to.

    Raises:
        ValueError: the call makes no sense; the sentence names the mend.

    Reference:
        Benettin, Galgani, Giorgilli & Strelcyn (1980), Lyapunov characteristic exponents, Meccanica 15, 9-30.
    """
    check_params(start)
    flat, unravel = ravel_pytree(start)
    count = flat.size if count is None else check_count("count", count, most=flat.size)
    solver = how.get("solver")
    if how.get("controller") is not None or not (solver is None or isinstance(solver, dfx.AbstractERK)):
        raise ValueError("exponents need steps that resolve every rate: leave solver and controller out, or name an explicit solver.")
    basis = jnp.linalg.qr(jr.normal(check_key(key), (flat.size, count), flat.dtype))[0].T
    settings, directions = prepared(flow, start, jax.vmap(unravel)(basis), t0, t1, how)
    return _exponents(flow, start, directions, jnp.asarray(t0, settings.t1.dtype), settings)


@eqx.filter_jit
def _exponents(flow: Any, start: Params, directions: Params, t0: Array, settings: Settings) -> LyapunovExponents:
    lane = Lane(flow, settings, start)
    state, moves = pushed(lambda start: lane.start(start, t0), start, directions)
    basis, count = moves.y, moves.y.shape[0]

    def body(carry: tuple[LaneState, LaneState, Array, Array]) -> tuple[LaneState, LaneState, Array, Array]:
        state, moves, logs, shape = carry
        state, moves, *_ = step_along(lane, state, moves)
        # where a kink ends a step its time depends on the start, until the end time takes that up
        moments = (moves.t + moves.t_low).astype(basis.dtype)
        change, triangle = orthonormalised(jnp.concatenate([moves.y, moments[:, None]], axis=1))
        moves = jax.tree.map(lambda leaf: jnp.tensordot(change, leaf, 1), moves)
        return state, moves, *compounded(triangle, logs, shape)

    begin = state, moves, jnp.zeros(count, basis.dtype), jnp.eye(count, dtype=basis.dtype)
    state, _, logs, shape = jax.lax.while_loop(is_running, body, begin)
    logs, shape = graded_singular_values(logs, shape)
    order = jnp.argsort(-logs)
    found = jnp.where(state.outcome == int(Outcome.t1_reached), logs, jnp.nan)[order] / (state.t - t0).astype(logs.dtype)
    return LyapunovExponents(found, jax.vmap(lane.unravel)(shape[order] @ basis), state.t, state.outcome)


def orthonormalised(vectors: Float[Array, "direction entry"]) -> tuple[Array, Array]:
    """Gram and Schmidt's method, twice over, which unlike Householder's leaves a lost direction at zero.

    Args:
        vectors: a row each.

    Returns:
        C and R, lower and upper triangular, with C vectors orthonormal (zero where a direction is lost), and vectors = R^T C vectors.
    """
    count, size = vectors.shape
    # decay takes many steps to get that far, a kink takes one
    least = jnp.sqrt(jnp.finfo(vectors.dtype).eps) * jnp.max(jnp.linalg.norm(vectors, axis=1))
    rows = jnp.concatenate([vectors, jnp.eye(count, dtype=vectors.dtype)], axis=1)

    def one(j: Array, done: Array) -> Array:
        v = rows[j]
        for _ in range(2):
            v = v - (done[:, :size] @ v[:size]) @ done
        length = jnp.linalg.norm(v[:size])
        alive = length > least
        return done.at[j].set(jnp.where(alive, v / jnp.where(alive, length, 1.0), 0.0))

    done = jax.lax.fori_loop(0, count, one, jnp.zeros_like(rows))
    return done[:, size:], jnp.triu(done[:, :size] @ vectors.T)


def compounded(triangle: Array, logs: Array, shape: Array) -> tuple[Array, Array]:
    """An upper triangular matrix times `diag(exp(logs)) shape`, in the same form.

    Args:
        triangle: the matrix, its diagonal positive, or zero where a direction is lost.
        logs: of the scales of the rows.
        shape: unit upper triangular.

    Returns:
        The logarithms and the shape of the product.
    """
    diagonal = jnp.diagonal(triangle)
    after = logs + jnp.log(diagonal)
    matters = (triangle != 0) & (diagonal[:, None] > 0) & jnp.isfinite(logs)[None, :]
    grade = jnp.where(matters, logs[None, :] - after[:, None], 0.0)
    mix = jnp.where(matters, triangle * jnp.exp(grade), 0.0)
    mix = jnp.where(jnp.eye(diagonal.size, dtype=bool), 1.0, mix)
    return after, mix @ shape


def graded_singular_values(logs: Float[Array, " row"], shape: Float[Array, "row column"]) -> tuple[Array, Array]:
    """The singular values of `diag(exp(logs)) shape`, by Jacobi's one-sided method in logarithms.

    It is accurate for each singular value as long as the shape itself is well conditioned, however the scales differ.

    Args:
        logs: of the scales of the rows.
        shape: the rows.

    Returns:
        The logarithms of the singular values, and their right singular vectors as rows.

    Reference:
        Demmel & Veselić (1992), Jacobi's method is more accurate than QR, SIAM J. Matrix Anal. Appl. 13, 1204.
    """
    count = logs.size
    pairs = jnp.asarray(np.stack(np.triu_indices(count, 1), axis=1))

    def normed(log: Array, row: Array) -> tuple[Array, Array]:
        length = jnp.linalg.norm(row)
        return log + jnp.log(length), row / jnp.where(length > 0, length, 1.0)

    def rotate(k: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        logs, rows, largest = carry
        i, j = pairs[k]
        i, j = jnp.where(logs[i] >= logs[j], i, j), jnp.where(logs[i] >= logs[j], j, i)  # i is the larger
        cosine = rows[i] @ rows[j]
        alive = jnp.isfinite(logs[j])
        ratio = jnp.where(alive, jnp.exp(jnp.where(alive, logs[j] - logs[i], 0.0)), 0.0)
        gap = 1 - ratio**2
        denominator = gap + jnp.sqrt(gap**2 + 4 * (ratio * cosine) ** 2)
        lean = jnp.where(denominator > 0, 2 * cosine / jnp.where(denominator > 0, denominator, 1.0), 0.0)  # the angle's tangent / ratio
        log_turn = -0.5 * jnp.log1p((lean * ratio) ** 2)
        log_i, row_i = normed(logs[i] + log_turn, rows[i] + lean * ratio**2 * rows[j])
        log_j, row_j = normed(logs[j] + log_turn, rows[j] - lean * rows[i])
        logs, rows = logs.at[i].set(log_i).at[j].set(log_j), rows.at[i].set(row_i).at[j].set(row_j)
        return logs, rows, jnp.maximum(largest, jnp.abs(cosine))

    def sweep(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        n, logs, rows, _ = carry
        return n + 1, *jax.lax.fori_loop(0, pairs.shape[0], rotate, (logs, rows, jnp.zeros_like(logs[0])))

    def goes_on(carry: tuple[Array, Array, Array, Array]) -> Array:
        return (carry[0] < SWEEPS) & (carry[3] > count * jnp.finfo(logs.dtype).eps)

    logs, rows = jax.vmap(normed)(logs, shape)
    if count == 1:
        return logs, rows
    return jax.lax.while_loop(goes_on, sweep, (jnp.asarray(0), logs, rows, jnp.ones_like(logs[0])))[1:3]
