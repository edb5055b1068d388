"""What the caller asked for, checked, as the settings of a lane."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast, get_origin

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from diffrax._root_finder import use_stepsize_tol  # not public; diffeqsolve fills it in, and so must a loop of one's own
from jaxtyping import Array, PRNGKeyArray

from .._checks import check_count, check_flag, check_number, check_whole, explained, is_concrete, is_real, shown
from .._checks import check_key as check_single_key
from .._platform import check_tolerance, default_rtol
from .._types import Params, as_leaf
from ..flows import check_methods, check_shapes
from .descent import Descent, offers_steps
from .exponential import KernelExponential
from .records import RecordRequest, is_infinite, last_finite
from .rules import AbstractStopRule, StopWhen
from .state import AbstractGiveUp, Settings
from .treatment import is_shift_invariant, treatment

DEFAULT_MAX_STEPS = 1_000_000


def check_params(params: Params) -> jnp.dtype:
    """Refuses parameters that cannot flow.

    Args:
        params: any pytree.

    Returns:
        The precision of its arrays together.

    Raises:
        ValueError: it is empty, or a leaf is no array of real floats.
    """
    leaves = jax.tree.leaves(params)
    if not leaves:
        raise ValueError("the parameters are empty: give a pytree with at least one array.")
    for leaf in leaves:
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.floating):
            found = getattr(leaf, "dtype", type(leaf).__name__)
            raise ValueError(
                f"every leaf of the parameters must be an array of real floats, but there is a {found}: "
                "split the rest off with equinox.partition(network, equinox.is_inexact_array)."
            )
    return jnp.result_type(*leaves)


def check_flow(flow: Any, params: Params) -> None:
    """Looks at shapes and dtypes only: whether the flow takes these parameters and gives a velocity like them.

    Args:
        flow: the flow.
        params: its parameters, or their shapes.

    Raises:
        ValueError: it does not, or the object is no flow.
    """
    check_methods(flow)
    check_shapes(flow, params)
    with explained("the flow does not take these parameters"):
        velocity = eqx.filter_eval_shape(lambda f, y: f.vector_field(jnp.zeros(()), y, None), flow, params)
    structures = [jax.tree.structure(tree) for tree in (params, velocity)]
    if structures[0] != structures[1]:
        raise ValueError(f"the velocity must be a pytree like the parameters, {structures[0]}, but is {structures[1]}.")
    shapes = [[tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree)] for tree in (params, velocity)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the velocity must be shaped like the parameters, {shapes[0]}, but is {shapes[1]}.")
    for leaf, moved in zip(jax.tree.leaves(params), jax.tree.leaves(velocity), strict=True):
        _check_dtype("the velocity", jnp.result_type(moved), leaf.dtype)
    with explained("the loss does not take these parameters"):
        loss = eqx.filter_eval_shape(lambda f, y: f.loss(y), flow, params)
    if jnp.shape(loss) != () if hasattr(loss, "shape") else not is_real(loss):
        raise ValueError(f"the loss must be a scalar, but has shape {getattr(loss, 'shape', None)}.")
    _check_dtype("the loss", jnp.result_type(loss), jnp.result_type(*jax.tree.leaves(params)))
    if callable(getattr(flow, "conserved", None)):
        with explained("conserved(y) does not take these parameters"):
            found = eqx.filter_eval_shape(lambda f, y: f.conserved(y), flow, params)
        if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in jax.tree.leaves(found)):
            raise ValueError("conserved(y) must be real, but is complex: give real and imaginary parts as quantities of their own.")
    if offers_steps(flow):
        _check_steps(flow, params)


def _check_steps(flow: Any, params: Params) -> None:
    """Refuses steps of a flow's own that return something else than they get."""
    with explained("the steps of the flow, begin(y, key) and update(y, state), fail"):
        before = eqx.filter_eval_shape(lambda f, y: (y, f.begin(y, jr.key(0))), flow, params)
        after = eqx.filter_eval_shape(lambda f, both: f.update(*both), flow, before)
    if not isinstance(after, tuple | list) or len(after) != 2:
        raise ValueError(f"update(y, state) must return the parameters and the state, a pair, not a {type(after).__name__}.")
    for what, old, new in zip(("the parameters", "the state"), before, after, strict=True):
        looks = [[(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)] for tree in (old, new)]
        if looks[0] != looks[1] or jax.tree.structure(old) != jax.tree.structure(new):
            named = [", ".join(f"{dtype}{list(shape)}" for shape, dtype in look) or "nothing" for look in looks]
            raise ValueError(f"update(y, state) must return {what} as it gets them, {named[0]}, but returns {named[1]}.")


def _check_dtype(what: str, found: jnp.dtype, params: jnp.dtype) -> None:
    """Refuses what is not real, and what has fewer digits than the parameters; more digits are rounded off."""
    if not jnp.issubdtype(found, jnp.floating):
        raise ValueError(f"{what} must be made of real floats like the parameters, {params}, but is {found}.")
    if jnp.finfo(found).bits < jnp.finfo(params).bits:
        raise ValueError(
            f"{what} is computed in {found} while the parameters are {params}, whose digits a solution would claim: cast what the flow "
            f"computes with to {params}, or the parameters to {found}."
        )


def as_rules(stop: AbstractStopRule | Callable | Sequence[AbstractStopRule | Callable]) -> tuple[AbstractStopRule, ...]:
    """Stop rules as a tuple; a plain function becomes a `StopWhen`.

    Args:
        stop: a rule, a function `(flow, t, params) -> bool`, or several.

    Returns:
        The rules.

    Raises:
        ValueError: something else came.
    """
    rules = []
    for rule in stop if isinstance(stop, list | tuple) else [stop]:
        if isinstance(rule, type):
            raise ValueError(f"stop takes rules such as jaxdyn.LossBelow(1e-6), not the class {rule.__name__}: give it its threshold.")
        if not callable(rule):
            raise ValueError(f"stop takes rules such as jaxdyn.LossBelow(1e-6) or functions (flow, t, params) -> bool, not {shown(rule)}.")
        rules.append(rule if isinstance(rule, AbstractStopRule) else StopWhen(cast(Any, rule)))
    return tuple(rules)


class Tolerances(NamedTuple):
    """What the caller named of how to step; None leaves a choice to `make_settings`."""

    solver: dfx.AbstractSolver | None = None
    controller: dfx.AbstractStepSizeController | None = None
    rtol: Any = None
    atol: Any = None
    dt0: Any = None
    max_steps: Any = None
    norm_bound: Any = 1e8
    locate_kinks: bool = True
    checkpoints: int | None = None


def _takes_one_term(solver: dfx.AbstractSolver) -> bool:
    structure = getattr(solver, "term_structure", dfx.AbstractTerm)
    structure = get_origin(structure) or structure
    return isinstance(structure, type) and (issubclass(dfx.ODETerm, structure) or isinstance(solver, KernelExponential | Descent))


def _is_inexact(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def make_settings(
    dtype: jnp.dtype,
    t1: Any,
    stop: Any,
    how: Tolerances,
    t0: Any = 0.0,
    record: RecordRequest | None = None,
    gives_up: AbstractGiveUp | None = None,
) -> Settings:
    """Settings with every default filled in and every value checked that is not a tracer.

    Args:
        dtype: of the parameters.
        t1: end time.
        stop: stop rules.
        how: solver, controller and tolerances.
        t0: start time.
        record: what is recorded; a limit is not looked for before that.
        gives_up: when the lane is given up to another solver, as in `Settings`.

    Returns:
        The settings.

    Raises:
        ValueError: a value makes no sense, or the precision cannot hold it.
    """
    solver, follows = dfx.Tsit5() if how.solver is None else how.solver, None
    if not isinstance(solver, dfx.AbstractSolver):
        raise ValueError(f"the solver must be one of diffrax's, such as diffrax.Dopri8(), not {shown(solver)}.")
    if not _takes_one_term(solver):
        raise ValueError(f"{type(solver).__name__} needs a field in several parts: take a solver for one, such as diffrax.Kvaerno5().")
    check_times(t0, t1)
    to_limit = is_infinite(t1)
    if how.max_steps is not None:
        check_whole("max_steps", how.max_steps)
    if how.dt0 is not None:
        check_number("dt0", how.dt0, "positive", lambda h: h > 0)
    check_number("norm_bound", how.norm_bound, "positive", lambda bound: bound > 0)
    locate_kinks = check_flag("locate_kinks", how.locate_kinks)
    checkpoints = None if how.checkpoints is None else check_count("checkpoints", how.checkpoints)
    controller = how.controller
    if controller is not None:
        if not isinstance(controller, dfx.AbstractStepSizeController):
            raise ValueError(
                f"the controller must be one of diffrax's, not {shown(controller)}: diffrax.PIDController(rtol=, atol=) is one."
            )
        if how.rtol is not None or how.atol is not None:
            raise ValueError("give either a controller, which carries its own tolerances, or rtol and atol, not both.")
        if isinstance(controller, dfx.ConstantStepSize) and how.dt0 is None and not isinstance(solver, Descent):
            raise ValueError("a constant step size needs its length: give dt0=.")
        if not is_shift_invariant(controller) and dtype != jnp.float64:
            raise ValueError(
                f"{type(controller).__name__} looks at absolute times, which float32 cannot hold: switch on jax_enable_x64 and make the "
                "parameters float64."
            )
        rtol = getattr(controller, "rtol", None)
        if rtol is not None and not isinstance(solver, dfx.AbstractAdaptiveSolver):
            raise ValueError(f"{type(solver).__name__} has no error estimate: give controller=diffrax.ConstantStepSize() and dt0=.")
        if isinstance(rtol, float | np.ndarray | jax.Array) and is_concrete(rtol) and np.ndim(rtol) == 0:
            check_tolerance(float(rtol), dtype)
        controller = jax.tree.map(lambda leaf: as_leaf(leaf) if isinstance(leaf, float) else leaf, controller)
    else:
        if not isinstance(solver, dfx.AbstractAdaptiveSolver):
            raise ValueError(f"{type(solver).__name__} has no error estimate: give controller=diffrax.ConstantStepSize() and dt0=.")
        rtol = default_rtol(dtype) if how.rtol is None else how.rtol
        check_number("rtol", rtol, "a number")
        if is_concrete(rtol):
            check_tolerance(float(rtol), dtype)
        atol = 1e-2 * rtol if how.atol is None else how.atol
        follows = jnp.asarray(how.atol is None)  # a leaf: giving an atol compiles nothing again
        check_number("atol", atol, "zero or positive", lambda tolerance: tolerance >= 0)
        # PI control: half the rejections of I control where the field jumps
        controller = dfx.PIDController(rtol=as_leaf(rtol), atol=as_leaf(atol), pcoeff=0.3, icoeff=0.4)
    # in the parameters' precision: a float64 tolerance would promote float32 steps
    controller = jax.tree.map(lambda leaf: leaf.astype(dtype) if _is_inexact(leaf) else leaf, controller)
    filled_in, open_places = _filled_in(solver, controller, checkpoints is not None)
    return Settings(
        solver=filled_in,
        controller=controller,
        rules=as_rules(stop),
        t1=jnp.asarray(t1, jnp.result_type(float)),
        dt0=None if how.dt0 is None else as_leaf(how.dt0),
        max_steps=as_limit(DEFAULT_MAX_STEPS if how.max_steps is None else how.max_steps),
        norm_bound=as_leaf(how.norm_bound),
        locate_kinks=locate_kinks,
        checkpoints=checkpoints,
        gives_up=gives_up,
        limit_after=jnp.asarray(last_finite(record), jnp.result_type(float)) if to_limit else None,
        atol_follows=follows,
        root_finder_follows=follows is not None and "atol" in open_places,
    )


def as_limit(steps: Any) -> Array:
    """A number of steps as an integer, the largest integer where it is larger."""
    dtype = jnp.result_type(int)
    return jnp.asarray(min(int(steps), jnp.iinfo(dtype).max) if is_concrete(steps) else steps, dtype)


def _filled_in(
    solver: dfx.AbstractSolver, controller: dfx.AbstractStepSizeController, reversible: bool
) -> tuple[dfx.AbstractSolver, list[str]]:
    """The solver with what `diffeqsolve` fills in: a loop over stages that can be differentiated, and the root finder's tolerances.

    Args:
        solver: as the caller gave it.
        controller: whose tolerances a root finder without any takes over.
        reversible: whether reverse-mode derivatives are wanted.

    Returns:
        The solver, and the names of the root finder's tolerances that were filled in.

    Raises:
        ValueError: neither the root finder nor the controller has tolerances.
    """
    if isinstance(solver, dfx.AbstractRungeKutta) and solver.scan_kind is None:
        solver = eqx.tree_at(lambda s: s.scan_kind, solver, "checkpointed" if reversible else "lax", is_leaf=lambda x: x is None)
    if not isinstance(solver, dfx.AbstractImplicitSolver):
        return solver, []
    names = [n for n in ("rtol", "atol", "norm") if getattr(solver.root_finder, n, None) is use_stepsize_tol]
    if names and not isinstance(controller, dfx.PIDController):
        raise ValueError(
            f"{type(controller).__name__} has no tolerances for the solver's root finder: "
            f"give it some, {type(solver).__name__}(root_finder=diffrax.VeryChord(rtol=, atol=))."
        )

    def open_places(finder: Any) -> tuple:
        return tuple(getattr(finder, name) for name in names)

    filled = eqx.tree_at(lambda s: open_places(s.root_finder), solver, open_places(controller), is_leaf=lambda x: x is use_stepsize_tol)
    return filled, names


def check_times(t0: Any, t1: Any) -> None:
    """Refuses an empty time interval; tracers pass.

    Args:
        t0: the start time.
        t1: the end time, infinity for the limit.
    """
    check_number("t0", t0, "a finite time")
    if not is_infinite(t1):
        check_number("t1", t1, f"a time after t0={t0}, or jax.numpy.inf", lambda t: not is_concrete(t0) or t > np.asarray(t0))


def check_key(key: Any) -> PRNGKeyArray:
    """A random key; None for the default."""
    return jr.key(0) if key is None else check_single_key(key)


def check_limit(flow: Any, t1: Any) -> None:
    """Refuses to look for a limit that there is not.

    Args:
        flow: the flow.
        t1: the end time.

    Raises:
        ValueError: t1 is infinite, and the flow says that it never comes to rest.
    """
    if is_infinite(t1) and not getattr(flow, "has_limit", True):
        loss = getattr(getattr(flow, "loss_function", None), "name", "this")
        raise ValueError(
            f"the {loss} loss has no minimum, so the parameters grow without end: ask for their direction, "
            "t1=1e9 with stop=jaxdyn.SteadyDirection(1e-3), or give the flow a weight_decay."
        )


def describe_method(flow: Any, settings: Settings, like: Params) -> str:
    """The solver, the controller and how kinks are treated, in words.

    Args:
        flow: the flow.
        settings: how it is solved.
        like: its parameters, or their shapes.

    Returns:
        A line.
    """
    controller, names = settings.controller, []
    while controller is not None:
        names.append(type(controller).__name__)
        controller = getattr(controller, "controller", None)
    kinks = treatment(flow, settings.locate_kinks, settings.controller, like).words
    return f"{type(settings.solver).__name__}, {' of '.join(names)}, {kinks}"
