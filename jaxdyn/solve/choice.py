"""Which solver a call gets that names none: what is tried, in turn, and when one solver gives a lane up to the next."""

from typing import Any, NamedTuple, cast

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from .._types import Params, as_leaf
from .descent import Descent, offers_steps
from .exponential import KernelExponential, offers_kernel
from .outcome import Outcome
from .records import is_infinite
from .rules import Moment
from .settings import Tolerances
from .state import AbstractGiveUp
from .work import has_constant_curvature, step_ratio

FIRST_MARK = 8
"""Times are noted after so many steps, twice as many, four times as many, ...: how a lane's steps grow."""
FIRST_STEPS = 32
"""Steps of Tsit5 after which jaxdyn first estimates how many more it needs."""
FIRST_SHARES = (1 / 2, 1 / 4)
"""And only once they are this share of what KernelExponential is expected to cost, where the loss is not and where it is quadratic in the
outputs. How steps grow shows late, and latest where the curvature falls with the loss; who waits that long loses little."""
KERNEL_STEPS = (120.0, 60.0)
"""Steps that KernelExponential is expected to need, whatever the end time; likewise."""
KINK_STEPS = 0.5
"""Further steps of KernelExponential for each kink that Tsit5 has located."""
DENSE = 1.5
"""How often the steps so far the kinks may cost, unless as often what KernelExponential costs is left; most kinks of stiff lanes are
noise of Tsit5, of which KernelExponential has less."""
MARGIN = 1.5
"""A solver that another one has handed a lane to is given up where its total work would be more than so many times that of the other."""
STABILITY = 3.3
"""Steps of Tsit5 are stable up to about so many times the inverse of the largest rate of decay (Hairer & Wanner 1996, section IV.2)."""


def is_mark(num_steps: Int[Array, ""]) -> Bool[Array, ""]:
    """Whether the number of steps is a power of two, from `FIRST_MARK` on: then the time is noted, and the rule is asked."""
    return (num_steps >= FIRST_MARK) & (num_steps & (num_steps - 1) == 0)


def steps_left(moment: Moment) -> Float[Array, ""]:
    r"""How many more steps a solver needs up to t1, if its steps go on growing as they have.

    The mean steps of the last half of all steps and of the quarter before it say how the steps grow, h ~ (t - t0)^g; then
    $\int dt / h = (t - t_0) / h \, ((T^{1-g} - 1) / (1 - g))$ with $T = (t_1 - t_0) / (t - t_0)$ are left. Where stability limits the
    steps g is 0; on the tail of a logistic or exponential loss they grow like t, and only a logarithm is left. Steps that shrink count as
    constant.

    Args:
        moment: where the lane stands, at a mark.

    Returns:
        A number.
    """
    tiny, pace = jnp.finfo(moment.t.dtype).tiny, moment.pace
    num_steps = moment.num_steps - pace.num_steps
    quarter, half, gone = jnp.stack([pace.quarter, pace.half, moment.t]) - pace.t + tiny
    before, last = (half - quarter + tiny) / (num_steps / 4), (gone - half + tiny) / (num_steps / 2)
    growth = jnp.clip(jnp.log(last / before) / jnp.log((half + gone) / (quarter + half)), 0.0, 1 - 1e-6)
    step = last * (2 * gone / (half + gone)) ** growth
    return gone / step * jnp.expm1((1 - growth) * jnp.log1p((moment.t1 - moment.t) / gone)) / (1 - growth)


class TooStiff(AbstractGiveUp):
    """Tsit5 gives a lane up where it needs more time for what is left than KernelExponential for all of it.

    After `FIRST_STEPS` steps, twice as many, and so on, but not before they are a share of what KernelExponential is expected to cost: once
    `steps_left` is more than what `steps` of KernelExponential and `KINK_STEPS` for each kink so far cost, in steps of Tsit5,
    see `work.step_ratio`; more than `DENSE` times that while kinks are so dense that they alone would have cost KernelExponential more than
    `DENSE` times the steps so far. But not where kinks are stepped over, whose chatter looks like stiffness and is none. A lane that
    KernelExponential has given back is given up for good, where Tsit5 turns out to need `MARGIN` times as much in all as KernelExponential
    expected to.

    Attributes:
        cost: of a step of KernelExponential, in steps of Tsit5.
        steps: see `KERNEL_STEPS`.
        share: see `FIRST_SHARES`.
    """

    cost: Float[Array, ""] = eqx.field(converter=as_leaf)
    steps: Float[Array, ""] = eqx.field(converter=as_leaf)
    share: Float[Array, ""] = eqx.field(converter=as_leaf)

    def is_marked(self, num_steps: Int[Array, ""]) -> Bool[Array, ""]:
        """See `is_mark`."""
        return is_mark(num_steps)

    def __call__(self, moment: Moment, projected: Float[Array, ""]) -> tuple[Bool[Array, ""], Float[Array, ""]]:
        """Whether the lane is given up, and the number of steps that Tsit5 still needs; infinity the second time."""
        num_steps, left = moment.num_steps - moment.pace.num_steps, steps_left(moment)
        kinks = KINK_STEPS * moment.num_kinks * self.cost
        expected = self.steps * self.cost
        slow = (left > (expected + kinks) * jnp.where(kinks > DENSE * num_steps, DENSE, 1.0)) & (kinks >= 0)
        first = jnp.isnan(projected)
        slow &= first | (num_steps + left > MARGIN * projected)
        asked = is_mark(num_steps) & (num_steps >= jnp.maximum(FIRST_STEPS, self.share * expected))
        return asked & slow, jnp.where(first, left, jnp.inf)


class TooSlow(AbstractGiveUp):
    """KernelExponential gives a lane up where Tsit5 would have been faster.

    By then it has cost as much as Tsit5 was estimated to cost, and it would cost `MARGIN` times that in all. But not while its steps are so
    long that those of Tsit5, which have to be stable, cannot keep up: an estimate at the start of a lane may be too low by far.

    Attributes:
        cost: of a step of KernelExponential, in steps of Tsit5.
    """

    cost: Float[Array, ""] = eqx.field(converter=as_leaf)

    def is_marked(self, num_steps: Int[Array, ""]) -> Bool[Array, ""]:
        """See `is_mark`."""
        return is_mark(num_steps)

    def __call__(self, moment: Moment, projected: Float[Array, ""]) -> tuple[Bool[Array, ""], Float[Array, ""]]:
        """Whether the lane is given up, and what KernelExponential would cost in all, in steps of Tsit5."""
        num_steps = moment.num_steps - moment.pace.num_steps
        so_far, left = self.cost * num_steps, self.cost * steps_left(moment)
        unstable = moment.step_size * moment.stiffness >= STABILITY * self.cost
        return is_mark(num_steps) & (so_far >= projected) & (so_far + left > MARGIN * projected) & ~unstable, so_far + left


FAILED = (Outcome.diverged, Outcome.step_too_small)
"""Outcomes with which KernelExponential hands a lane over to Tsit5."""


class Attempt(NamedTuple):
    """A solver that a lane is tried with.

    Attributes:
        how: how it is stepped.
        gives_up: when the lane is given up to the other attempt, from its start again; None for never.
        handed_over: the outcomes with which a lane goes to the other attempt; none where there is no other.
        restarts: whether another solver reached the solution that the call goes on with, so that the steps start afresh there.
    """

    how: Tolerances
    gives_up: TooStiff | TooSlow | None = None
    handed_over: tuple[Outcome, ...] = ()
    restarts: bool = False


def passed_on(outcome: Any, projected: Any) -> Any:
    """What the next attempt is told of the steps that the one before was estimated to need.

    Args:
        outcome: with which a lane was handed over.
        projected: its certificate's `projected_steps`.

    Returns:
        That number; infinity after a failure, so that the next attempt does not give up.
    """
    return np.where(np.isin(outcome, [int(one) for one in FAILED]), np.inf, projected)


def steps_of(flow: Any, t1: Any, how: Tolerances) -> Tolerances:
    """For a flow that steps by itself, its solver; for any other, what the caller named.

    Args:
        flow: the flow.
        t1: end time.
        how: what the caller named.

    Returns:
        How it is stepped.

    Raises:
        ValueError: the caller names what such a flow decides itself, or asks for a limit.
    """
    if not offers_steps(flow):
        return how
    named = [name for name in ("solver", "controller", "rtol", "atol", "dt0") if getattr(how, name) is not None]
    if named:
        raise ValueError(f"{type(flow).__name__} makes its own steps, a learning rate long: leave out {', '.join(named)}.")
    if is_infinite(t1):
        raise ValueError(f"the limit is followed by flows, and {type(flow).__name__} makes steps: give a finite t1, or solve its flow.")
    return how._replace(solver=Descent(), controller=dfx.ConstantStepSize())


def check_remembered(flow: Any, params: Any, state: Any) -> None:
    """Refuses to go on with what another optimiser remembers.

    Args:
        flow: a flow that steps by itself.
        params: its parameters.
        state: what was remembered.

    Raises:
        ValueError: it is not what this flow remembers.
    """
    expected = eqx.filter_eval_shape(lambda flow, y: flow.begin(y, jr.key(0)), flow, params)
    looks = [(jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]) for tree in (expected, state)]
    if looks[0] != looks[1]:
        raise ValueError(
            "this lane was stepped by another optimiser, which remembers something else: name the same, or start from sol.params."
        )


def attempts(flow: Any, params: Params, t1: Any, how: Tolerances) -> list[Attempt]:
    """What a call tries in turn, until one attempt keeps the lane: Tsit5 and KernelExponential, where it names no solver and no controller.

    A lane may go back to Tsit5, and from there to KernelExponential for good, see `TooStiff`, `TooSlow` and `passed_on`. For a limit
    KernelExponential comes first. A flow that steps by itself is stepped by itself. Where values are traced, nobody can ask how an
    attempt ended, and the first is the only one.

    Args:
        flow: the flow.
        params: its parameters, or their shapes.
        t1: end time.
        how: what the caller named.

    Returns:
        The attempts, one or two.
    """
    how = steps_of(flow, t1, how)
    if how.solver is not None or how.controller is not None or not offers_kernel(flow):
        return [Attempt(how)]
    kernel = how._replace(solver=KernelExponential())
    if is_infinite(t1):
        return [Attempt(kernel)] if is_traced(flow, params, tuple(how)) else [Attempt(kernel, handed_over=FAILED), Attempt(how)]
    if is_traced(flow, params, t1, tuple(how)):
        return [Attempt(how)]
    cost: Any = step_ratio((flow, params))
    kind = has_constant_curvature((flow, params))
    steps, share = KERNEL_STEPS[kind], FIRST_SHARES[kind]
    stiff = TooStiff(cost, cast(Any, steps), cast(Any, share))
    return [
        Attempt(how, stiff, (Outcome.too_stiff,)),
        Attempt(kernel, TooSlow(cost), (Outcome.too_stiff, *FAILED)),
    ]


def going_on_from(method: str, tried: list[Attempt]) -> list[Attempt]:
    """The attempts of a call that goes on with an earlier solution.

    Args:
        method: of that solution.
        tried: those of a first call.

    Returns:
        The attempts. The solution's own solver comes first and goes on with its steps. KernelExponential goes on with what it has solved.
    """
    named = [_name(attempt.how.solver) for attempt in tried]
    solver = method.partition(",")[0]
    if len(tried) == 1 or solver not in named:
        how = tried[0].how
        return [Attempt(how._replace(solver=named_in(method, how.solver)))]
    own, other = sorted(tried, key=lambda attempt: _name(attempt.how.solver) != solver)
    if solver == KernelExponential.__name__:
        own = own._replace(gives_up=None)
    return [own, other._replace(restarts=True)]


def named_in(method: str, solver: dfx.AbstractSolver | None) -> dfx.AbstractSolver | None:
    """The solver of a solution that was solved by default.

    Args:
        method: of the solution.
        solver: what the caller named.

    Returns:
        That; KernelExponential where nothing was named and the method says so.
    """
    return KernelExponential() if solver is None and method.partition(",")[0] == KernelExponential.__name__ else solver


def _name(solver: dfx.AbstractSolver | None) -> str:
    return dfx.Tsit5.__name__ if solver is None else type(solver).__name__


def is_traced(*trees: Any) -> bool:
    """Whether what follows from these is not known yet: under jit, or where they are differentiated or mapped over.

    Args:
        *trees: pytrees.

    Returns:
        A truth value.
    """
    return isinstance(jnp.zeros(()), Tracer) or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))
