"""The kernel-exponential solver: stiffness of the tangent kernel, solved exactly."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..term import AbstractFieldTerm
from .collocation import DEGREE, Path, collocate, displaced, weights
from .linear import LinearPart


class KernelTerm(AbstractFieldTerm):
    """A flow on flat vectors with its linear part.

    Attributes:
        field: `(t, y, args) -> velocity`.
        linear: `(y, args) -> LinearPart`.
    """

    field: Callable[[Any, Array, PyTree], Array]
    linear: Callable[[Array, PyTree], LinearPart]


class KernelCurve(dfx.AbstractLocalInterpolation):
    """The dense output: the collocation's own solution, which follows a decay however fast it is.

    Attributes:
        t0: the step's start.
        t1: and its end.
        y0: the parameters at its start.
        y1: and at its end.
        part: the linear part.
        path: what the solution is made of.
    """

    t0: Float[Array, ""]
    t1: Float[Array, ""]
    y0: Float[Array, " param"]
    y1: Float[Array, " param"]
    part: LinearPart
    path: Path

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Array:
        """The parameters at a time, or their change between two."""
        del left
        if t1 is not None:
            return self.evaluate(t1) - self.evaluate(t0)
        h = self.t1 - self.t0
        s = jnp.where(h > 0, (t0 - self.t0) / jnp.where(h > 0, h, 1.0), 0.0)
        z = h * self.part.decays()
        return self.y0 + self.part.scale * displaced(self.part, self.path, h * weights(z, s, DEGREE + 1))[0]


class KernelExponential(dfx.AbstractAdaptiveSolver):
    r"""An exponential integrator on the neural tangent kernel, of order 5, for stiff flows of networks.

    Each step freezes the generalised Gauss-Newton matrix $J^T D J$ (J the outputs' Jacobian, D the loss's second derivative), diagonalises
    the kernel $D^{1/2} J J^T D^{1/2}$, which is as large as there are outputs, solves that part exactly and the rest by exponential
    collocation: `collocation.py`. A frozen kernel is solved exactly by a step of any length. In float32 it works to about 1e-4.

    For flows that offer `outputs(y)`, `loss_of_outputs(f)` and `mobility(y)`, as `GradientFlow`, `LinearisedFlow` and `ReducedFlow` do.
    With a loss that is not convex in the outputs the negative part of D is left to the rest.

    Reference:
        Hochbruck & Ostermann (2010), Exponential integrators (for the functions and the order of such methods); Minion (2003),
        Semi-implicit spectral deferred correction methods, and Buvoli (2020), A class of exponential integrators based on spectral deferred
        correction (for the iteration); the choice of the linear part is ours.
    """

    term_structure: ClassVar[Any] = KernelTerm
    interpolation_cls: ClassVar[Any] = KernelCurve

    def order(self, terms: KernelTerm) -> int:
        """The order, where the flow is not stiff."""
        del terms
        return DEGREE + 1

    def init(self, terms: KernelTerm, t0: Any, t1: Any, y0: Array, args: PyTree) -> None:
        """Nothing is kept between steps."""
        del terms, t0, t1, y0, args

    def func(self, terms: KernelTerm, t0: Any, y0: Array, args: PyTree) -> Array:
        """The field."""
        return terms.vf(t0, y0, args)

    def step(
        self, terms: KernelTerm, t0: Any, t1: Any, y0: Array, args: PyTree, solver_state: None, made_jump: Any
    ) -> tuple[Array, Array, dict[str, PyTree], None, dfx.RESULTS]:
        """One step.

        Args:
            terms: the flow.
            t0: the step's start.
            t1: and its end.
            y0: where it starts.
            args: passed to the flow.
            solver_state: None.
            made_jump: of no use here.

        Returns:
            y1, the error estimate, the dense information, None, and success.
        """
        del solver_state, made_jump
        part = terms.linear(y0, args)
        inverse = part.inverse()

        def field(moved: Array) -> Array:
            return inverse * terms.vf(t0, y0 + part.scale * moved, args)

        moved, error, path = collocate(part, inverse * terms.vf(t0, y0, args), t1 - t0, jax.vmap(field))
        y1 = y0 + part.scale * moved
        return y1, part.scale * error, {"y0": y0, "y1": y1, "part": part, "path": path}, None, dfx.RESULTS.successful
