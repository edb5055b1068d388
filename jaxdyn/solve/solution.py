"""What `solve` returns, and how it is kept on disk."""

import json
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .._platform import versions
from .._repr import is_known, is_missing, layout, span, table_html
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
        return {
            "params": layout(self.params),
            "method": f"{self.method}; {span(c.num_accepted_steps)} steps accepted, {span(c.num_rejected_steps)} rejected",
            "loss": f"{span(c.loss_start)} -> {span(c.loss_end)}; largest rise {span(c.largest_loss_increase, 2)}",
            "conserved": drift,
            **kinks,
            "observed": f"{', '.join(self.observed) or 'nothing'} at {self.ts.shape[-1]} times",
            "convention": self.convention,
        }

    def save(self, path: str | os.PathLike) -> None:
        """Writes the solution to one `.npz` file, whole or not at all.

        Args:
            path: where to; an existing file is replaced.
        """
        path = Path(path)
        leaves: dict[str, Any] = {f"leaf_{k:04d}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(self))}
        about = {"method": self.method, "convention": self.convention, "versions": versions(), "observed": sorted(self.observed)}
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez(file, about=np.asarray(json.dumps(about)), **leaves)
        os.replace(partial, path)


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


def read_solution(path: str | os.PathLike, like: PyTree, method: str) -> Any:
    """Reads a file that `Solution.save` wrote into the structure of `like`.

    Args:
        path: the file.
        like: a solution, or its shapes; the record times may differ in number.
        method: the solver that is expected.

    Returns:
        The solution.

    Raises:
        ValueError: the file is broken, or is of another network or solver.
    """
    try:
        with np.load(path) as file:
            about = json.loads(str(file["about"]))
            method_then, convention_then, observed_then = about["method"], about["convention"], about["observed"]
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
    return jax.tree.unflatten(treedef, [jnp.asarray(leaf) for leaf in leaves])
