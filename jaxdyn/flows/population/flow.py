"""The gradient flow of a two-layer student and teacher on all Gaussian inputs."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._checks import check_count, check_flag
from ...models import TwoLayer
from ...models.two_layer import TwoLayerParams
from .._arguments import names_of, scaled, scales_of
from ..base import AbstractFlow
from .families import family_of
from .moments import Units, energy, slopes
from .teacher import checked_covariance, checked_teacher

CONVENTIONS = {
    True: "population: 1/2 E[(f - f*)^2] over {}",
    False: "population: E[(f - f*)^2] over {}, without 1/2; time runs twice as fast as with it",
}
"""The losses, by `halved`."""


class PopulationFlow(AbstractFlow):
    r"""The flow $\dot\theta_k = -s_k \partial_k J$ of $J = \frac12 E[(f - f^*)^2]$ over $x \sim N(0, \Sigma)$, without samples.

    The student is a `TwoLayer` network, $f(x) = \gamma \sum_i c_i \sigma(a_i \cdot x - b_i)$ with its output factor $\gamma$, and its
    parameters are that network's: `GradientFlow(model, losses.mean_square, data.gaussian_teacher(n, flow.target, dim, key=key))` is the
    same flow on n samples. The teacher is $f^*(x) = \sum_k c^*_k \sigma(a^*_k \cdot x - b^*_k)$, without a factor.

    With $m$ the student's output weights $\gamma c_i$ followed by the teacher's $-c^*_k$, and $z$ the inner vectors of both,
    $J = \frac12 \sum_{pq} m_p m_q E[\sigma(X_p)\sigma(X_q)]$ and

    $$-\partial_{a_i} J = -m_i \sum_q m_q \left(E[\sigma''(X_i)\sigma(X_q)] \Sigma a_i + E[\sigma'(X_i)\sigma'(X_q)] \Sigma z_q\right).$$

    The expectations are in closed form for `relu`, `leaky_relu:SLOPE`, `erf`, `normal_cdf`, `identity` and `square`, with biases and
    without, and for `relu^p` without; those of other smooth activations are Gauss-Hermite quadratures, whose error grows with the length
    of the vectors. Values, fields and Hessians (`jax.hessian(flow.loss)`, or derivatives of the field) hold their digits at parallel and
    antiparallel vectors. With biases, the Hessian of nearly parallel ReLU neurons with nearly the same knots depends on differences of the
    parameters that their own rounding spoils.

    Convention at 0: a (leaky) ReLU neuron with a = 0 (and b = 0) has derivatives in each direction but no gradient. There its gate is 0,
    as in the model: a ReLU neuron rests, and the field's derivatives by its weights are 0. Near 0 the Hessian grows like $|a^*|/|a|$.

    Attributes:
        model: the student.
        teacher: `{"a": (unit, dim), "c": (unit,)}`, and `"b"` where it has biases.
        covariance: $\Sigma$; None is the identity.
        time_scales: s, one number for each of a, b, c or an array of its shape, as a dictionary; one number for all; None is 1.
        halved: whether J has the 1/2; without it time runs twice as fast.
        frozen: names among a, b, c that do not move, besides those that the model does not train.
        nodes: of the quadrature, a direction.

    Reference:
        Tian (2017), arXiv 1703.00560, theorem 1 (ReLU); Saad & Solla (1995), On-line learning in soft committee machines, eq. 5-8 (erf);
        Cho & Saul (2009), Kernel methods for deep learning, eq. 6.
    """

    model: TwoLayer
    teacher: TwoLayerParams
    covariance: Float[Array, "dim dim"] | None
    time_scales: Any
    halved: bool = eqx.field(static=True)
    frozen: tuple[str, ...] = eqx.field(static=True)
    nodes: int = eqx.field(static=True)

    def __init__(
        self,
        model: TwoLayer,
        teacher: Any,
        *,
        covariance: Any = None,
        time_scales: Any = None,
        halved: bool = True,
        frozen: tuple[str, ...] = (),
        nodes: int = 48,
    ):
        """The flow of `model` towards `teacher`.

        Args:
            model: see the class.
            teacher: see the class; `"c"` is 1 where it is left out, and an array is taken as `"a"`.
            covariance: see the class.
            time_scales: see the class.
            halved: see the class.
            frozen: see the class.
            nodes: see the class.

        Raises:
            ValueError: the model is no `TwoLayer`, the teacher or the covariance does not fit it, or a name is none of its parameters'.
        """
        if not isinstance(model, TwoLayer):
            raise ValueError(f"population flows are for models.TwoLayer, not {type(model).__name__}: use GradientFlow on samples.")
        frozen = names_of(frozen)
        letters = {"a", "b", "c"} if model.bias else {"a", "c"}
        for name, given in (("frozen", set(frozen)), ("time_scales", set(time_scales) if isinstance(time_scales, dict) else set())):
            if not given <= letters:
                raise ValueError(f"{name} names {', '.join(sorted(given - letters))}, but the parameters are {', '.join(sorted(letters))}.")
        if isinstance(time_scales, dict) and set(time_scales) != letters:
            raise ValueError(f"time_scales must give each of {', '.join(sorted(letters))} a number: write 1.0 for those left alone.")
        self.model, self.teacher = model, checked_teacher(teacher, model)
        nodes = check_count("nodes", nodes)
        family_of(model.activation, nodes, model.bias or "b" in self.teacher)
        self.covariance = checked_covariance(covariance, model.dim)
        self.time_scales = scales_of(time_scales)
        self.halved, self.frozen, self.nodes = check_flag("halved", halved), frozen, nodes

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        inputs = "x ~ N(0, I)" if self.covariance is None else "x ~ N(0, covariance)"
        return CONVENTIONS[self.halved].format(inputs)

    def init(self, key: PRNGKeyArray) -> TwoLayerParams:
        """A start by the student's own initialisation."""
        return self.model.init(key)

    def target(self, x: Float[Array, "sample dim"]) -> Float[Array, " sample"]:
        """The teacher's outputs.

        Args:
            x: inputs, one row a sample.

        Returns:
            One number a sample.
        """
        teacher = {name: part.astype(x.dtype) for name, part in self.teacher.items()}
        z = x @ teacher["a"].T
        return self.model.activation(z - teacher["b"][None, :] if "b" in teacher else z) @ teacher["c"]

    def loss(self, y: TwoLayerParams) -> Float[Array, ""]:
        """The expected squared error, with the 1/2 if `halved`; to the rounding of the sum of its terms, so not below 1e-16 of these.

        Args:
            y: the parameters.

        Returns:
            One number.
        """
        units, weights = self._both(y)
        value = energy(family_of(self.model.activation, self.nodes), units, weights)
        return value if self.halved else 2 * value

    def vector_field(self, t: Float[Array, ""], y: TwoLayerParams, args: object = None) -> TwoLayerParams:
        """Minus the gradient of the loss, times the time scales; zero where parameters are frozen.

        Args:
            t: time, unused.
            y: the parameters.
            args: unused.

        Returns:
            The velocity, a dictionary like `y`.
        """
        (units, weights), hidden = self._both(y), y["a"].shape[0]
        own = Units(units.inner[:hidden], None if units.mean is None else units.mean[:hidden])
        moments = family_of(self.model.activation, self.nodes)(own, units)
        pull, by_outer = slopes(moments, own, units, weights)
        factor = 1.0 if self.halved else 2.0
        outer, moves = factor * weights[:hidden], self.trainable(y)
        velocity = {name: jnp.zeros_like(leaf) for name, leaf in y.items()}
        if moves["a"]:
            velocity["a"] = -self._unwhitened(outer[:, None] * pull.inner)
        if moves.get("b") and pull.mean is not None:
            velocity["b"] = outer * pull.mean
        if moves["c"]:
            velocity["c"] = -factor * self.model.output_factor.astype(outer.dtype) * by_outer
        return self._scaled(velocity)

    def trainable(self, y: TwoLayerParams) -> dict[str, bool]:
        """Which leaves move: those that the model trains and that are not frozen."""
        return {name: moves and name not in self.frozen for name, moves in self.model.trainable(y).items()}

    def mobility(self, y: TwoLayerParams) -> TwoLayerParams:
        """What multiplies minus the gradient: the time scales, 0 where parameters do not move."""
        return self._scaled({name: jnp.full_like(y[name], float(moves)) for name, moves in self.trainable(y).items()})

    def conserved(self, y: TwoLayerParams) -> Float[Array, " hidden"] | None:
        """Balancedness p c^2 - |a|^2 - b^2 for an activation of degree p; None without one, or where not all move at one time scale."""
        return self.model.conserved(y) if self.time_scales is None and not self.frozen else None

    def conserved_terms(self, y: TwoLayerParams) -> tuple[Float[Array, " hidden"], Float[Array, " hidden"]] | None:
        """The terms of balancedness; None where it is."""
        return self.model.conserved_terms(y) if self.time_scales is None and not self.frozen else None

    def _scaled(self, velocity: TwoLayerParams) -> TwoLayerParams:
        if self.time_scales is None:
            return velocity
        return scaled(self.time_scales, velocity)

    def _both(self, y: TwoLayerParams) -> tuple[Units, Float[Array, " unit"]]:
        """Student and teacher as neurons on standard normal inputs, with signed output weights."""
        dtype = y["a"].dtype
        teacher = {name: part.astype(dtype) for name, part in self.teacher.items()}
        inner = jnp.concatenate([y["a"], teacher["a"]])
        if self.covariance is not None:
            inner = inner @ jnp.linalg.cholesky(self.covariance.astype(dtype))
        mean = None
        if self.model.bias or "b" in teacher:
            mean = -jnp.concatenate([part["b"] if "b" in part else jnp.zeros_like(part["c"]) for part in (y, teacher)])
        return Units(inner, mean), jnp.concatenate([self.model.output_factor.astype(dtype) * y["c"], -teacher["c"]])

    def _unwhitened(self, covector: Float[Array, "hidden dim"]) -> Float[Array, "hidden dim"]:
        if self.covariance is None:
            return covector
        return covector @ jnp.linalg.cholesky(self.covariance.astype(covector.dtype)).T
