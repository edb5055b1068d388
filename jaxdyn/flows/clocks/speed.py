"""A flow in another time: ds = c dt with c of the point and its velocity."""

from collections.abc import Callable
from typing import Any, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..._checks import check_function, plainly
from ..._types import Params
from ..gates import Gates
from ..protocol import AbstractWrapper, check_methods

Speed = Callable[[Any, Params, Params], Array]
"""`(flow, params, velocity) -> ds/dt`."""


class Clocked(TypedDict):
    """The state of a `Clock`: the parameters, and the original time that has passed."""

    params: Params
    time: Float[Array, ""]


class Clock(AbstractWrapper):
    r"""A flow in the time s with $ds = c \, dt$, where c is a function of the point and of its velocity.

    The original time is carried along: $\dot y = F(y) / c$, $\dot t = 1 / c$. Networks that are homogeneous have a `DirectionClock`
    besides, which neither under- nor overflows.

    Attributes:
        inner: the flow.
        speed: c, `(flow, params, velocity) -> number`, positive; `arc_length`, `loss_time`, or one's own.
    """

    inner: Any
    speed: Speed = eqx.field(static=True)

    def __check_init__(self):
        """Refuse what is no flow, and a speed that is no function of flow, parameters and velocity."""
        check_methods(self.inner)
        check_function("speed", self.speed, ("flow", "params", "velocity"))

    @property
    def wrapped(self) -> Any:
        """The flow that this one is made of."""
        return self.inner

    @property
    def convention(self) -> str:
        """What a unit of the original time is, and what the clock shows."""
        name = getattr(self.speed, "__name__", "a clock of one's own")
        return f"{name.replace('_', ' ')} of the flow with this loss: {getattr(self.inner, 'convention', 'not declared')}"

    def init(self, key: PRNGKeyArray) -> Clocked:
        """The inner flow's start."""
        return self.start(self.inner.init(key))

    def start(self, params: Params) -> Clocked:
        """A state at time 0."""
        return Clocked(params=params, time=jnp.zeros((), ravel_pytree(params)[0].dtype))

    def weights(self, y: Clocked) -> Params:
        """The inner flow's parameters."""
        return y["params"]

    def loss(self, y: Clocked) -> Float[Array, ""]:
        """The inner flow's loss."""
        return self.inner.loss(y["params"])

    def vector_field(self, t: Float[Array, ""], y: Clocked, args: PyTree | None = None) -> Clocked:
        """The velocity in the clock's time; at rest, where that stands still, zero.

        Args:
            t: the clock's time, unused.
            y: the state.
            args: passed to the inner flow.

        Returns:
            A state.
        """
        velocity = self.inner.vector_field(y["time"], y["params"], args)
        speed = self.speed(self.inner, y["params"], velocity)
        moves = speed > 0
        tick = jnp.where(moves, 1 / jnp.where(moves, speed, 1.0), 0.0)
        return Clocked(params=jax.tree.map(lambda v: tick.astype(v.dtype) * v, velocity), time=tick.astype(y["time"].dtype))

    @property
    def has_limit(self) -> bool:
        """Whether the clock goes on for ever and the flow comes to rest; not known."""
        return False

    def outputs(self, y: Clocked, gates: PyTree | None = None) -> Array:
        """The inner flow's outputs."""
        return self.inner.outputs(y["params"], gates)

    def trainable(self, y: Clocked) -> PyTree:
        """What the inner flow moves, and the time."""
        own = getattr(self.inner, "trainable", None)
        moves = jax.tree.map(lambda _: True, y["params"]) if own is None else own(y["params"])
        return Clocked(params=moves, time=True)  # pyright: ignore[reportArgumentType]

    def mobility(self, y: Clocked) -> PyTree:
        """What multiplies minus the gradient, but for the factor 1 / c; 1 for the time, which descends nothing."""
        own = getattr(self.inner, "mobility", None)
        params = jax.tree.map(jnp.ones_like, y["params"]) if own is None else own(y["params"])
        return Clocked(params=params, time=jnp.ones_like(y["time"]))

    def switches(self, y: Clocked, gates: Gates | None = None) -> Gates | None:
        """What changes its sign at a kink; None for a flow without kinks."""
        own = getattr(self.inner, "switches", None)
        return None if own is None else own(y["params"], gates)

    def conserved(self, y: Clocked) -> Float[Array, " quantity"] | None:
        """What the inner flow keeps constant; None where nothing is known to be."""
        own = getattr(self.inner, "conserved", None)
        return None if own is None else own(y["params"])

    def conserved_terms(self, y: Clocked) -> Any:
        """The terms of these quantities; None if the inner flow declares none."""
        own = getattr(self.inner, "conserved_terms", None)
        return None if own is None else own(y["params"])


@plainly
def arc_length(flow: Any, params: Params, velocity: Params) -> Float[Array, ""]:
    """The speed of the clock that shows the length of the path in parameter space: |dy/dt|."""
    return jnp.linalg.norm(ravel_pytree(velocity)[0])


@plainly
def loss_time(flow: Any, params: Params, velocity: Params) -> Float[Array, ""]:
    """The speed of the clock dtau = loss dt, in which losses with exponential tails fall evenly."""
    return flow.loss(params)
