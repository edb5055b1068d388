"""What `solve` returns, and how it is kept on disk."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree

from .._checks import shown
from .._describe import describe, named_difference
from .._platform import versions
from .._repr import is_known, is_missing, span, table_html
from .._repr import layout as in_shapes
from .._types import Params
from .outcome import Outcome
from .state import Certificate, LaneState


class Solution(eqx.Module):
    """One lane, solved.

    Attributes:
        params: the parameters at the end.
        t: the time at the end.
        outcome: an `Outcome` as an integer; `sol.fate` is the enum.
        certificate: what makes it trustworthy.
        ts: the record times, NaN after the end of a lane that ended early.
        states: the parameters at the record times (a leading axis `time`), NaN after the end.
        observed: each observable at the record times, by name; NaN after the end.
        state: what the lane goes on from: `solve(flow, sol, t1=...)`.
        method: the solver in words (static).
        convention: what a unit of time means (static).
    """

    params: Params
    t: Float[Array, ""]
    outcome: Int[Array, ""]
    certificate: Certificate
    ts: Float[Array, " time"]
    states: Params
    observed: dict[str, Array]
    state: LaneState
    method: str = eqx.field(static=True)
    convention: str = eqx.field(static=True)

    @property
    def fate(self) -> Outcome:
        """The outcome as an enum, with a message."""
        return Outcome(int(self.outcome))

    def __repr__(self) -> str:
        """A few lines that say how it went; the ranges over the lanes where there are several, and shapes where it is traced."""
        return "\n".join([f"Solution: {self._summary()}", *(f"  {name:10s} {value}" for name, value in self._rows().items())])

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        return table_html("Solution:", self._rows(), self._summary())

    def _summary(self) -> str:
        if not is_known(self.outcome):
            return "traced, so there are no numbers yet."
        if not jnp.ndim(self.outcome):
            return f"{self.fate.name} at t = {float(self.t):g}. {self.fate.message}"
        values, counts = np.unique(np.asarray(self.outcome), return_counts=True)
        ends = ", ".join(f"{count} {Outcome(int(value)).name}" for value, count in zip(values, counts, strict=True))
        return f"{self.outcome.size} lanes: {ends}; t = {span(self.t)}."

    def _rows(self) -> dict[str, str]:
        c = self.certificate
        drift = "not declared" if is_missing(c.conserved_drift) else f"drift {span(c.conserved_drift, 2)}"
        kinks = {} if is_known(c.num_kinks) and not np.any(np.asarray(c.num_kinks) > 0) else {"kinks": f"{span(c.num_kinks)} crossed"}
        lost = {}
        if is_known(c.unresolved_since) and np.any(np.isfinite(np.asarray(c.unresolved_since))):
            lost = {"unresolved": f"since t = {span(c.unresolved_since)}: a conserved quantity is below the rounding of its terms"}
        return {
            "params": in_shapes(self.params),
            "method": f"{self.method}; {span(c.num_accepted_steps)} steps accepted, {span(c.num_rejected_steps)} rejected",
            "loss": f"{span(c.loss_start)} -> {span(c.loss_end)}; largest rise {span(c.largest_loss_increase, 2)}",
            "conserved": drift,
            **lost,
            **kinks,
            "observed": f"{', '.join(self.observed) or 'nothing'} at {self.ts.shape[-1]} times",
            "convention": self.convention,
        }

    def save(self, path: str | os.PathLike) -> None:
        """Writes the solution to one `.npz` file, whole or not at all, with a description of its flow.

        Args:
            path: where to; an existing file is replaced.

        Raises:
            ValueError: it cannot be written there, or this is the solution of a computation that is being traced.
        """
        if not isinstance(path, str | os.PathLike):
            raise ValueError(f"a solution is saved to the path of a file, not to {shown(path)}.")
        path = Path(path)
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(self)):
            raise ValueError("a solution cannot be saved inside jit or vmap: return it, and save it outside.")
        leaves: dict[str, Any] = {f"leaf_{k:04d}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(self))}
        about = {"method": self.method, "convention": self.convention, "versions": versions(), "observed": sorted(self.observed)}
        flow = flow_of(self)
        about |= {"params": layout(self.params), "flow": None if flow is None else describe(flow)}
        if not path.name or path.is_dir():
            raise ValueError(f"{path} is a directory: name a file, such as {path / 'lane.npz'}.")
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as file:
                np.savez(file, about=np.asarray(json.dumps(about)), **leaves)
            os.replace(partial, path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            fix = "make room, or name another place" if path.parent.is_dir() else "name a directory that exists"
            raise ValueError(f"the solution cannot be written to {path} ({error.strerror or error}): {fix}.") from error


FLOW = "_flow"
"""Attribute of a solution that is no field: a field would be compiled in, and solutions of different flows could not be stacked."""


def remember_flow(solution: Solution, flow: Any) -> Solution:
    """Notes on a solution which flow it is of, where that has values; transformations of JAX forget it.

    Args:
        solution: the solution.
        flow: its flow.

    Returns:
        The solution.
    """
    if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((solution, flow))):
        object.__setattr__(solution, FLOW, flow)
    return solution


def flow_of(solution: Solution) -> Any:
    """The flow that `remember_flow` noted; None if a transformation of JAX forgot it."""
    return getattr(solution, FLOW, None)


def layout(params: PyTree) -> list[list]:
    """Names and shapes of parameters, in the order of the flat vector."""
    return [[jtu.keystr(path, simple=True, separator="."), list(jnp.shape(leaf))] for path, leaf in jtu.tree_leaves_with_path(params)]


def check_same_flow(solution: Solution, flow: Any) -> None:
    """Refuses to continue a solution with another flow: its state holds velocities of the flow that it is of.

    Args:
        solution: the solution.
        flow: what to continue with.

    Raises:
        ValueError: it is of another flow.
    """
    own = flow_of(solution)
    if own is None or own is flow or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(flow)):
        return
    if difference := named_difference(describe(own), describe(flow), "flow"):
        raise ValueError(
            f"this solution was made with {difference}: to change the flow on the way, start from sol.params with t0=sol.t, "
            "whose first step is found again."
        )


def _recorded(like: PyTree) -> PyTree:
    """Which leaves of a solution have the axis `time`."""
    alike = jax.tree.map(lambda _: False, like)
    places = [jax.tree.map(lambda _: True, part) for part in (like.ts, like.states, like.observed)]
    return eqx.tree_at(lambda s: (s.ts, s.states, s.observed), alike, tuple(places))


def saved_method(path: str | os.PathLike) -> str:
    """The method of a saved solution; nothing where there is none, which `read_solution` will say."""
    try:
        with np.load(path) as file:
            return str(json.loads(str(file["about"]))["method"])
    except Exception:
        return ""


def read_solution(path: str | os.PathLike, like: PyTree, method: str, flow: Any) -> Any:
    """Reads a file that `Solution.save` wrote into the structure of `like`.

    Args:
        path: the file.
        like: a solution, or its shapes; the record times may differ in number.
        method: the solver that is expected.
        flow: the flow that it should be of.

    Returns:
        The solution.

    Raises:
        ValueError: the file is broken, or is of another flow, network or solver.
    """
    try:
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            method_then, convention_then, observed_then = about["method"], about["convention"], about["observed"]
            layout_then, flow_then = about.get("params"), about.get("flow")
            leaves = [file[f"leaf_{k:04d}"] for k in range(len(file.files) - 1)]
    except FileNotFoundError:
        raise ValueError(f"there is no solution at {path}: check the path, sol.save(path) writes one.") from None
    except Exception as error:
        raise ValueError(f"{path} is not a whole solution file ({type(error).__name__}): solve and save it again.") from None
    if convention_then != like.convention:
        raise ValueError(f"{path} was solved under the loss {convention_then!r}, not {like.convention!r}: give its own flow.")
    if method_then != method:
        raise ValueError(f"{path} was solved by {method_then}, not {method}: name the same flow, solver, controller and locate_kinks.")
    shapes, treedef = jax.tree.flatten(like)
    if len(shapes) != len(leaves) or observed_then != sorted(like.observed):
        raise ValueError(
            f"{path} holds another network or other observables ({', '.join(observed_then) or 'none'}): name those it was saved with."
        )
    records = jax.tree.unflatten(treedef, leaves).ts.shape
    for shape, recorded, leaf in zip(shapes, jax.tree.leaves(_recorded(like)), leaves, strict=True):
        needed = records + shape.shape[1:] if recorded else shape.shape
        if leaf.shape != needed or leaf.dtype != shape.dtype:
            there, here = f"{leaf.dtype} arrays of shape {leaf.shape}", f"{shape.dtype} {needed}"
            raise ValueError(f"{path} is of another network: it holds {there} where this flow needs {here}.")
    if layout_then is not None and (difference := named_difference(layout_then, layout(like.params), "params")):
        raise ValueError(f"{path} is of another network, with {difference}: give its own flow.")
    if flow_then is not None and (difference := named_difference(flow_then, json.loads(json.dumps(describe(flow))), "flow")):
        raise ValueError(f"{path} was made with {difference}: load it with the flow that was solved, and start another from its params.")
    solution = jax.tree.unflatten(treedef, [jnp.asarray(leaf) for leaf in leaves])
    if flow_then is None:
        _check_loss(path, solution, flow)
    return remember_flow(solution, flow)


def _check_loss(path: str | os.PathLike, solution: Solution, flow: Any) -> None:
    """Where a file does not say which flow it is of, the loss of its end does.

    Args:
        path: the file.
        solution: what it holds.
        flow: the flow that it should be of.

    Raises:
        ValueError: the flow has another loss there.
    """
    then, now = np.asarray(solution.certificate.loss_end), np.asarray(flow.loss(solution.params))
    if np.isfinite(then) and not np.isclose(now, then, rtol=1e-3 if then.dtype == np.float32 else 1e-6, atol=1e-12):
        raise ValueError(f"{path} ended at the loss {then:.6g}, where this flow has {now:.6g}: give the flow that was solved.")
