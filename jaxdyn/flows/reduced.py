"""The univariate ReLU network's flow in the coordinates of knots and weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import plainly
from ..data import Samples, check_labels
from ..data.base import check_samples
from ._arguments import check_loss
from .base import AbstractFlow
from .gates import Gates, gated_loss, has_loss_kinks

Reduced = dict[str, Float[Array, " hidden"]]


@plainly
def reduce_univariate(params: dict[str, Array]) -> Reduced:
    r"""The reduced coordinates $(r, \theta, \delta)$ of a univariate two-layer ReLU network.

    $r_i = c_i |w_i|$, $\theta_i = \mathrm{atan2}(b_i, a_i)$ (the knot is at $\tan\theta_i$), $\delta_i = c_i^2 - |w_i|^2$,
    with $w_i = (a_i, b_i)$.

    Args:
        params: `{"a": (hidden, 1), "b": (hidden,), "c": (hidden,)}`.

    Returns:
        `{"r", "theta", "delta"}`, each of shape (hidden,).

    Reference:
        Williams et al. (2019), arXiv 1906.07842, section 3.
    """
    a, b, c = params["a"][:, 0], params["b"], params["c"]
    squared = a**2 + b**2
    return {"r": c * jnp.sqrt(squared), "theta": jnp.arctan2(b, a), "delta": c**2 - squared}


@plainly
def expand_reduced(params: Reduced) -> dict[str, Array]:
    r"""Parameters (a, b, c) with the given reduced coordinates, the inverse of `reduce_univariate`.

    $c^2 = (S + \delta)/2$ and $|w|^2 = (S - \delta)/2$ with $S = \sqrt{\delta^2 + 4 r^2}$; the smaller of the two is taken as
    $r^2$ over the larger, which loses no digits.

    Args:
        params: `{"r", "theta", "delta"}`, each of shape (hidden,).

    Returns:
        `{"a": (hidden, 1), "b": (hidden,), "c": (hidden,)}`.
    """
    r, theta, delta = params["r"], params["theta"], params["delta"]
    large = (jnp.sqrt(delta**2 + 4 * r**2) + jnp.abs(delta)) / 2
    small = r**2 / jnp.where(large == 0, 1.0, large)
    c_squared, w_squared = jnp.where(delta >= 0, large, small), jnp.where(delta >= 0, small, large)
    w, c = jnp.sqrt(w_squared), jnp.sqrt(c_squared)
    return {"a": (w * jnp.cos(theta))[:, None], "b": w * jnp.sin(theta), "c": jnp.where(r < 0, -c, c)}


class ReducedFlow(AbstractFlow):
    r"""The flow of $f(x) = \frac{k}{\alpha} \sum_i r_i \, \mathrm{relu}(x \cos\theta_i - \sin\theta_i)$ in $(r, \theta)$.

    With $R_j$ the loss's derivative at output j (for the square loss $f(x_j) - y_j$), $\tilde x_j = (x_j, -1)$,
    $d(\theta) = (\cos\theta, \sin\theta)$, $G(\theta) = \sum_j R_j \mathrm{relu}(d \cdot \tilde x_j)$, $S_i = \sqrt{\delta_i^2 + 4 r_i^2}$:

    $$\dot r_i = -\frac{k}{\alpha} S_i G(\theta_i), \qquad
      \dot\theta_i = -\frac{k}{\alpha} \frac{S_i + \delta_i}{2 r_i} G'(\theta_i).$$

    It gives the same function at each time as the flow of all of a, b, c. The imbalance $\delta$ rides along in the state and never
    moves. Where $\delta > 0$ and $|w|$ reaches 0 in finite time the coordinates break down; there use the full flow. A neuron with
    $|w| = 0$ from the start stays at rest.

    Attributes:
        model: a univariate `TwoLayer` with bias and relu, all of whose layers train; its `init` gives the start.
        loss_function: as in `GradientFlow`.
        data: samples with inputs of dimension 1.

    Reference:
        Williams et al. (2019), arXiv 1906.07842, section 3 (with the output scaling written out).
    """

    model: Any
    loss_function: Any
    data: Samples

    def __init__(self, model: Any, loss_function: Any, data: Samples):
        """The reduced flow of the same network, loss and data.

        Args:
            model: see the class.
            loss_function: see the class.
            data: see the class.

        Raises:
            ValueError: the network is not univariate with bias and relu, or does not train all its layers, or data or loss are none.
        """
        check_samples(data, "the data")
        check_loss(loss_function)
        if getattr(loss_function, "signs", False):
            check_labels(data)
        if data.x.shape[-1] != 1 or getattr(model, "dim", 1) != 1:
            raise ValueError("the reduced flow is for inputs of dimension 1: use GradientFlow in higher dimension.")
        if not getattr(model, "bias", False) or getattr(getattr(model, "activation", None), "name", "") != "relu":
            raise ValueError("the reduced flow is for TwoLayer(bias=True, activation='relu').")
        if not hasattr(model, "output_factor"):
            raise ValueError(f"the reduced flow is for TwoLayer networks, not {type(model).__name__}.")
        if set(model.trains) != {"a", "b", "c"}:
            raise ValueError("the reduced flow moves a, b and c together: take a model with trains=('a', 'b', 'c').")
        self.model, self.loss_function, self.data = model, loss_function, data

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return getattr(self.loss_function, "convention", getattr(self.loss_function, "__name__", "user's own loss"))

    def init(self, key: PRNGKeyArray) -> Reduced:
        """The model's start in reduced coordinates."""
        return reduce_univariate(self.model.init(key))

    def _features(self, theta: Float[Array, " hidden"]) -> Float[Array, "sample hidden"]:
        return self.data.x.astype(theta.dtype) * jnp.cos(theta)[None, :] - jnp.sin(theta)[None, :]

    def outputs(self, y: Reduced, gates: Float[Array, "sample hidden"] | None = None) -> Float[Array, " sample"]:
        """The network on the samples, with gates held fixed where they are given."""
        z = self._features(y["theta"])
        return self.model.output_factor.astype(y["r"].dtype) * ((jax.nn.relu(z) if gates is None else gates * z) @ y["r"])

    def loss_of_outputs(self, f: Float[Array, " sample"], gates: Float[Array, " sample"] | None = None) -> Float[Array, ""]:
        """The loss as a function of the outputs; its own gates held where they are given."""
        return gated_loss(self.loss_function, f, self.data.y, gates)

    @property
    def has_limit(self) -> bool:
        """Whether the flow can be expected to come to rest: the loss has a minimum."""
        return getattr(self.loss_function, "attained", True)

    @property
    def separable(self) -> bool:
        """Whether the loss is a sum over samples; a plain function is not known to be."""
        return getattr(self.loss_function, "separable", False)

    def loss(self, y: Reduced) -> Float[Array, ""]:
        """The loss on the samples."""
        return self.loss_of_outputs(self.outputs(y))

    def vector_field(self, t: Float[Array, ""], y: Reduced, args: object = None) -> Reduced:
        """The velocities of r and theta; zero for delta.

        Args:
            t: time, unused.
            y: the reduced coordinates.
            args: `Gates` held fixed, or None.

        Returns:
            A dictionary like `y`.
        """
        theta, held = y["theta"], args if isinstance(args, Gates) else Gates(None, None)
        residual = jax.grad(self.loss_of_outputs)(self.outputs(y, held.model), held.loss)
        z = self._features(theta)
        slope = -self.data.x.astype(theta.dtype) * jnp.sin(theta)[None, :] - jnp.cos(theta)[None, :]
        gates = (z > 0).astype(z.dtype) if held.model is None else held.model
        factor, mobility = self.model.output_factor.astype(theta.dtype), self.mobility(y)
        velocity = {"r": -factor * (residual @ (gates * z)), "theta": -factor * y["r"] * (residual @ (gates * slope))}
        return {**{name: mobility[name] * force for name, force in velocity.items()}, "delta": jnp.zeros_like(y["delta"])}

    def mobility(self, y: Reduced) -> Reduced:
        r"""What multiplies minus the gradient: $S$ for r, $(S + \delta)/(2 r^2)$ for $\theta$, 0 for $\delta$.

        Args:
            y: the reduced coordinates.

        Returns:
            A dictionary like `y`.
        """
        r, delta = y["r"], y["delta"]
        positive = delta >= 0
        # a neuron with w = 0 has no direction and stays at rest, as in the full flow with relu'(0) = 0
        dead = positive & (r == 0)
        S = jnp.where(dead, 0.0, jnp.sqrt(delta**2 + 4 * jnp.where(dead, 1.0, r) ** 2))
        # (S + delta) / (2 r^2), written without 0/0 where delta < 0 and r is small
        large, squared = jnp.where(positive, 1.0, S - delta), jnp.where(positive & ~dead, r, 1.0) ** 2
        by_angle = jnp.where(positive, (S + delta) / (2 * squared), 2 / large)
        return {"r": S, "theta": jnp.where(dead, 0.0, by_angle), "delta": jnp.zeros_like(delta)}

    def switches(self, y: Reduced, gates: Gates | None = None) -> Gates:
        r"""What changes its sign at a kink: $d(\theta_i) \cdot \tilde x_j$, and what the loss says.

        Args:
            y: the reduced coordinates.
            gates: held fixed; None takes them from the signs.

        Returns:
            `Gates` of numbers whose signs are the gates.
        """
        f = self.outputs(y, None if gates is None else gates.model)
        return Gates(
            self._features(y["theta"]), self.loss_function.switches(f, self.data.y) if has_loss_kinks(self.loss_function) else None
        )

    def trainable(self, y: Reduced) -> dict[str, bool]:
        """Everything but the imbalance."""
        return {"r": True, "theta": True, "delta": False}
