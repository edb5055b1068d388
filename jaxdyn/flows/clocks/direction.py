r"""Homogeneous networks as direction, log-norm and elapsed time: for starts of any smallness and ends of any largeness."""

from typing import Any, ClassVar, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._checks import REMEMBERED, check_number, is_concrete, looks_of
from ..._types import Params, scalar
from ...models import Neurons
from ...models.homogeneity import measured_order
from .._sphere import dot, onto_sphere, push, size, tangential
from ..gates import Gates
from ..protocol import AbstractWrapper, check_methods

NEEDS = ("outputs", "loss_of_outputs", "loss_function", "data", "trainable", "mobility", "switches", "neurons", "init")
"""What the inner flow of a `DirectionClock` must have."""


class Polar(TypedDict):
    r"""The state of a `DirectionClock`.

    Attributes:
        direction: $v = w / |w|$, a pytree like the network's parameters; what does not move is in it as it is.
        log_norm: $\rho = \log |w|$.
        elapsed: $\log(1 + t \dot s)$, of the original time t in units of the clock's present tick; see `DirectionClock.log_time`.
    """

    direction: Params
    log_norm: Float[Array, ""]
    elapsed: Float[Array, ""]


class DirectionClock(AbstractWrapper):
    r"""A homogeneous network's gradient flow in the coordinates $v = w/|w|$ and $\rho = \log|w|$, and in a time that suits them.

    With $f(e^\rho v) = e^{L \rho} f(v)$ and r the loss's derivative by the outputs, $Q = -\sum_i r_i \nabla f_i(v)$ and
    $P = I - v v^\top$, the flow $\dot w = -\nabla \ell$ is

    $$v' = P Q, \qquad \rho' = v \cdot Q, \qquad ds = |w|^{L-2} \, c \, dt .$$

    For a loss with a minimum c = 1. For a loss with an exponential tail, one that offers `log`, c is the loss itself and r the derivative
    of its logarithm: nothing under- or overflows, and `loss`, with it every stop rule and record of the loss, is $\log \ell$. Near zero
    weights r is constant and the direction follows the neural correlation function's projected flow; the original time is carried along.

    Attributes:
        inner: the gradient flow, without penalties and time scales.
        order: L, the order in the parameters that move.
        log_norm: of every start, in place of that of the inner flow's; None leaves it as it is.

    Reference:
        Kumar & Haupt (2024), arXiv 2403.08121 and 2402.09226 (the early phase); Lyu & Li (2020), arXiv 1906.05890 (the late one).
    """

    has_unit_scale: ClassVar[bool] = True

    inner: Any
    order: float = eqx.field(static=True)
    log_norm: Float[Array, ""] | None

    def __init__(self, inner: Any, *, order: float | None = None, log_norm: float | Array | None = None):
        """The flow of `inner` in these coordinates.

        Args:
            inner: a `GradientFlow` or one like it.
            order: L; by default it is measured at a random start, and one that is given is compared with it.
            log_norm: see the class; -230.26 is a norm of 1e-100.

        Raises:
            ValueError: the network is not homogeneous or of another order, or the flow has penalties or time scales, or no samples.
        """
        check_methods(inner)
        missing = [name for name in NEEDS if not hasattr(inner, name)]
        if missing:
            raise ValueError(f"a DirectionClock is for a GradientFlow or a flow like it; {type(inner).__name__} has no {missing[0]}.")
        for name in ("weight_decay", "norm_barrier", "time_scales"):
            if getattr(inner, name, None) is not None:
                raise ValueError(f"a DirectionClock is for flows of the loss alone: make the inner flow without {name}.")
        self.inner = inner
        self.log_norm = None if log_norm is None else scalar("log_norm")(log_norm)
        if self.log_norm is not None:
            check_number("log_norm", self.log_norm, "one finite number")
        if order is None:
            self.order = _measured_order(inner)
            return
        check_number("order", order, "a positive number, known before compilation", lambda order: order > 0)
        self.order = float(order)
        _check_order(inner, self.order)

    @property
    def wrapped(self) -> Any:
        """The flow that this one is made of."""
        return self.inner

    @property
    def log_domain(self) -> bool:
        """Whether the loss is given by its logarithm, and the clock is normalised by it."""
        return getattr(self.inner.loss_function, "log", None) is not None

    @property
    def convention(self) -> str:
        """What the loss is, and what a unit of the clock is."""
        told = getattr(self.inner, "convention", "user's own loss")
        rate = f"|w|^{self.order - 2:g}" + (" times the loss" if self.log_domain else "")
        recorded = "; the loss is recorded as its logarithm" if self.log_domain else ""
        return f"clock ds = {rate} dt with t of the flow of this loss: {told}{recorded}"

    # states

    def init(self, key: PRNGKeyArray) -> Polar:
        """The inner flow's start."""
        return self.start(self.inner.init(key))

    def start(self, params: Params) -> Polar:
        """A state at time 0.

        Args:
            params: the network's parameters, of any norm but zero.

        Returns:
            The state.
        """
        moving, still = eqx.partition(params, self.inner.trainable(params))
        largest = jnp.max(jnp.abs(ravel_pytree(moving)[0]))
        scaled = eqx.combine(jax.tree.map(lambda leaf: leaf / largest, moving), still)
        length = size(self.inner, scaled)
        found = jnp.log(largest) + jnp.log(length) if self.log_norm is None else self.log_norm.astype(length.dtype)
        return Polar(direction=onto_sphere(self.inner, scaled), log_norm=found, elapsed=jnp.zeros_like(length))

    def weights(self, y: Polar) -> Params:
        """The network's parameters, scaled to norm 1."""
        return onto_sphere(self.inner, y["direction"])

    def log_time(self, y: Polar) -> Float[Array, ""]:
        """The logarithm of the original time; minus infinity at the start."""
        return _log_expm1(y["elapsed"]) - self._log_rate(y)

    def _log_rate(self, y: Polar, gates: PyTree | None = None) -> Array:
        """log(ds/dt)."""
        return (self.order - 2) * y["log_norm"] + (self.loss(y, gates) if self.log_domain else 0.0)

    # the flow

    def outputs(self, y: Polar, gates: PyTree | None = None) -> Float[Array, " sample"]:
        """The network on the samples, at norm 1; those at its own norm are these times exp(L log_norm)."""
        return self.inner.outputs(self.weights(y), gates)

    def residual(self, y: Polar, f: Float[Array, " sample"], gates: Float[Array, " sample"] | None = None) -> Float[Array, " sample"]:
        """The derivative of the loss, or of its logarithm, by the outputs.

        Args:
            y: the state.
            f: outputs at norm 1.
            gates: of the loss, held fixed; None takes them from the signs.

        Returns:
            One number a sample.
        """
        return jax.grad(self._loss_of)(jnp.exp(self.order * y["log_norm"]) * f, gates)

    def _loss_of(self, f: Array, gates: Array | None = None) -> Array:
        """The loss, or its logarithm, of the outputs at their own norm."""
        return self.inner.loss_function.log(f, self.inner.data.y) if self.log_domain else self.inner.loss_of_outputs(f, gates)

    def loss(self, y: Polar, gates: PyTree | None = None) -> Float[Array, ""]:
        """The loss on the samples; its logarithm where it is given by that; the network's gates held fixed where they are given."""
        return self._loss_of(jnp.exp(self.order * y["log_norm"]) * self.outputs(y, gates))

    def vector_field(self, t: Float[Array, ""], y: Polar, args: PyTree | None = None) -> Polar:
        """The velocity in the clock's time.

        Args:
            t: the clock's time, unused.
            y: the state.
            args: gates held fixed, or None.

        Returns:
            A state.
        """
        return self.descent(y, args)[0]

    def descent(self, y: Polar, gates: PyTree | None = None) -> tuple[Polar, Float[Array, " sample"]]:
        """The velocity, and what it is made of: the derivative of the loss, or of its logarithm, by the outputs.

        Args:
            y: the state.
            gates: held fixed, or None.

        Returns:
            A state, and one number a sample.
        """
        held = gates if isinstance(gates, Gates) else Gates(gates, None)
        length = size(self.inner, y["direction"])
        found = push(self.inner, self.weights(y), held.model, lambda f: self.residual(y, f, held.loss))
        velocity = Polar(
            direction=jax.tree.map(lambda leaf: length * leaf, found.turning),
            log_norm=found.radial,
            elapsed=jnp.zeros_like(found.radial),
        )
        return self.carried(y, velocity), found.residual

    def carried(self, y: Polar, velocity: Polar) -> Polar:
        """A velocity with that of the elapsed time, which follows from the others.

        Args:
            y: the state.
            velocity: of direction and log-norm, in which the flow may have been held on surfaces.

        Returns:
            The velocity.
        """
        slowing = self._slowing(y, velocity)
        return {**velocity, "elapsed": (1 + slowing) * jnp.exp(-y["elapsed"]) - slowing}

    def rebased(self, y: Polar, before: Polar, gates: PyTree | None) -> Polar:
        """A state that a kink has moved, at the time that it had before: the elapsed time is in units of the tick.

        Args:
            y: the state.
            before: where it was without the kink.
            gates: held fixed on the way there.

        Returns:
            The state.
        """
        gain = self._log_rate(y) - self._log_rate(before, gates)
        return {**y, "elapsed": jax.nn.softplus(_log_expm1(before["elapsed"]) + gain)}

    def _slowing(self, y: Polar, velocity: Polar) -> Array:
        """Minus the rate of log(ds/dt)."""
        radial = velocity["log_norm"]
        slowing = -(self.order - 2) * radial
        if self.log_domain:
            slowing += jnp.exp(self.order * y["log_norm"]) * (dot(velocity["direction"], velocity["direction"]) + radial**2)
        return slowing

    def stiffness(self, y: Polar, gates: PyTree | None = None) -> Any:
        r"""Minus the field's derivative, but for what makes it unsymmetric, which is not stiff.

        Args:
            y: where.
            gates: held fixed, or None.

        Returns:
            A linear map of states, symmetric.
        """
        velocity = self.vector_field(jnp.zeros_like(y["log_norm"]), y, gates)
        unit = self.weights(y)
        relaxes = (1 + self._slowing(y, velocity)) * jnp.exp(-y["elapsed"])

        def apply(change: Polar) -> Polar:
            along = tangential(self.inner, unit, change["direction"])
            step = Polar(direction=along, log_norm=change["log_norm"], elapsed=jnp.zeros_like(change["elapsed"]))
            bent = jax.jvp(lambda y: self.vector_field(jnp.zeros_like(y["log_norm"]), y, gates), (y,), (step,))[1]
            symmetric = lambda a, b: -a - self.order * change["log_norm"] * b  # noqa: E731
            return Polar(
                direction=tangential(self.inner, unit, jax.tree.map(symmetric, bent["direction"], velocity["direction"])),
                log_norm=symmetric(bent["log_norm"], velocity["log_norm"]),
                elapsed=relaxes * change["elapsed"],
            )

        return apply

    # what the solvers and measures look for

    @property
    def has_limit(self) -> bool:
        """Whether the flow can be expected to come to rest: the loss has a minimum."""
        return getattr(self.inner, "has_limit", True)

    @property
    def slopes(self) -> tuple[float, float] | None:
        """The slopes (below zero, above zero) of a gated network; None for one without kinks."""
        return getattr(self.inner, "slopes", None)

    def trainable(self, y: Polar) -> PyTree:
        """Everything but what the inner flow leaves alone."""
        return Polar(direction=self.inner.trainable(y["direction"]), log_norm=True, elapsed=True)  # pyright: ignore

    def mobility(self, y: Polar) -> Polar:
        """What multiplies minus the gradient, but for a common factor: 1, and 0 where parameters are frozen."""
        moves = self.inner.mobility(y["direction"])
        return Polar(direction=moves, log_norm=jnp.ones_like(y["log_norm"]), elapsed=jnp.ones_like(y["elapsed"]))

    def penalty(self, y: Polar) -> Float[Array, ""]:
        """None: 0."""
        return jnp.zeros_like(y["log_norm"])

    def switches(self, y: Polar, gates: Gates | None = None) -> Gates | None:
        """What changes its sign at a kink, at norm 1."""
        return self.inner.switches(self.weights(y), gates)

    def neurons(self, y: Polar) -> Neurons | None:
        """The network's only hidden layer, of the direction; None for other networks."""
        return self.inner.neurons(y["direction"])

    def conserved(self, y: Polar) -> Float[Array, " quantity"] | None:
        """What the exact flow keeps constant, at the network's own norm; None where nothing is known to be."""
        own = getattr(self.inner, "conserved", None)
        found = None if own is None else own(self.weights(y))
        return None if found is None else found * jnp.exp(2 * y["log_norm"])

    def conserved_terms(self, y: Polar) -> Any:
        """The terms of these quantities, at the network's own norm; None if the inner flow declares none."""
        own = getattr(self.inner, "conserved_terms", None)
        found = None if own is None else own(self.weights(y))
        return None if found is None else jax.tree.map(lambda leaf: leaf * jnp.exp(2 * y["log_norm"]), found)


def _check_order(inner: Any, order: float) -> None:
    """Compares an order with the measured one, once for flows that look alike, where there is a start to measure it at."""
    starts = callable(getattr(getattr(inner, "model", None), "init", None)) or getattr(inner, "initial", None) is not None
    if not starts or not is_concrete(inner):
        return
    looks = looks_of(inner)
    try:
        known = looks in _ORDERS
    except TypeError:  # something in the flow cannot be hashed
        known, looks = False, None
    measured = _ORDERS[looks] if known else _order_or_none(inner)
    if looks is not None:
        while len(_ORDERS) >= REMEMBERED:
            _ORDERS.pop(next(iter(_ORDERS)))
        _ORDERS[looks] = measured
    if measured is not None and abs(measured - order) > 1e-3 * max(1.0, measured):
        raise ValueError(f"order={order:g} is not that of this network, {measured:g} in the parameters that move: leave it out.")


_ORDERS: dict[Any, float | None] = {}


def _order_or_none(inner: Any) -> float | None:
    """The order in the parameters that move, at a random start; None where all outputs are 0, so that it cannot be measured."""
    params = inner.init(jax.random.key(0))
    moving, still = eqx.partition(params, inner.trainable(params))
    return measured_order(lambda moving, x: inner.outputs(eqx.combine(moving, still)), moving, inner.data.x)


def _measured_order(inner: Any) -> float:
    order = _order_or_none(inner)
    if order is None:
        raise ValueError("the outputs are 0 on all samples at a random start, so their order cannot be measured: give it as order=.")
    return order


def _log_expm1(x: Array) -> Array:
    """log(e^x - 1) for x >= 0."""
    return x + jnp.log(-jnp.expm1(-x))
