"""Which solver a call gets that names none."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from .._types import as_leaf
from .descent import Descent, offers_steps
from .exponential import MANY_OUTPUTS, KernelExponential, offers_kernel
from .outcome import Outcome
from .records import is_infinite
from .rules import AbstractStopRule, Moment
from .settings import Tolerances

FIRST_STEPS = 40
"""Steps after which Tsit5 is first asked how many it would take."""
KERNEL_STEPS = 60
"""Steps that KernelExponential is taken to need, whatever the time."""
STEPS_A_KINK = 0.5
"""And besides, for each kink that Tsit5 has located."""
DENSE = 4.0
"""How often the steps so far these may cost; most kinks of stiff lanes are noise of Tsit5, of which KernelExponential has less."""


class TooStiff(AbstractStopRule):
    """Stop once Tsit5 would need longer for the time left than KernelExponential for all of it.

    From `FIRST_STEPS` steps on: once the time left, in steps of the present length and in steps of the mean length so far, is more than
    `KERNEL_STEPS` steps of KernelExponential and `STEPS_A_KINK` for each kink so far cost, in steps of Tsit5, see `step_ratio`. But not
    while kinks are so dense that they alone would have cost KernelExponential more than `DENSE` times the steps so far, nor where they are
    stepped over, whose chatter looks like stiffness and is none.
    """

    t0: Float[Array, ""] = eqx.field(converter=as_leaf)

    @property
    def outcome(self) -> Outcome:
        """Another solver is to begin anew."""
        return Outcome.too_stiff

    def __call__(self, moment: Moment) -> Bool[Array, ""]:
        """Whether Tsit5 is too slow."""
        left = moment.t1 - moment.t
        steps = jnp.minimum(left / moment.step_size, moment.num_steps * left / (moment.t - self.t0))
        outputs = eqx.filter_eval_shape(lambda flow, params: flow.outputs(params), moment.flow, moment.params)
        cost = step_ratio(outputs.size, moment.y.size)
        kinks = STEPS_A_KINK * moment.num_kinks * cost
        slow = (steps > KERNEL_STEPS * cost + kinks) & (kinks >= 0) & (kinks <= DENSE * moment.num_steps)
        return (moment.num_steps >= FIRST_STEPS) & slow


def step_ratio(outputs: int, params: int) -> float:
    """What a step of KernelExponential costs in steps of Tsit5, roughly, as `benchmarks/solvers.py` measures it on a CPU.

    Args:
        outputs: how many, over all samples.
        params: how many.

    Returns:
        The ratio.
    """
    return 5.0 + min(outputs, params, MANY_OUTPUTS) / 30


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


def begin_with(flow: Any, t1: Any, how: Tolerances, t0: Any = 0.0) -> tuple[Tolerances, tuple[TooStiff, ...]]:
    """What a call begins with: where it names no solver and no controller, KernelExponential for a limit, otherwise Tsit5.

    A flow that steps by itself is stepped by itself.

    Args:
        flow: the flow.
        t1: end time.
        how: what the caller named.
        t0: start time.

    Returns:
        The same with the choice, and the rule that says when KernelExponential is to begin anew; none where Tsit5 is to go on whatever
        comes.
    """
    how = steps_of(flow, t1, how)
    if how.solver is not None or how.controller is not None or not offers_kernel(flow):
        return how, ()
    return (how._replace(solver=KernelExponential()), ()) if is_infinite(t1) else (how, (TooStiff(t0),))


def is_traced(*trees: Any) -> bool:
    """Whether what follows from these is not known yet: under jit, or where they are differentiated or mapped over.

    Args:
        *trees: pytrees.

    Returns:
        A truth value.
    """
    return isinstance(jnp.zeros(()), Tracer) or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))
