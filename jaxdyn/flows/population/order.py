"""The population flow in order parameters: the overlaps of the students with each other and with the teachers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..._checks import shown
from ...models.two_layer import TwoLayerParams
from ..base import AbstractFlow
from .families import kernel_of
from .flow import PopulationFlow
from .moments import Moments, Overlaps
from .smooth import of_overlaps

Order = dict[str, Array]


class OrderParameterFlow(AbstractFlow):
    r"""The flow of $Q = W W^T$ and $R = W V^T$ that a `PopulationFlow` without biases brings about, of any input dimension.

    With A and P the moments $E[\sigma''(X)\sigma(Y)]$ and $E[\sigma'(X)\sigma'(Y)]$, functions of Q, R and $T = V V^T$ alone, and m the
    signed output weights, $\dot W = -(M W + N V)$ with $M_{ij} = m_i (\delta_{ij} \sum_q A_{iq} m_q + P_{ij} m_j)$ and
    $N_{ik} = m_i P_{ik} m_k$, so

    $$\dot Q = -(M Q + N R^T) - (M Q + N R^T)^T, \qquad \dot R = -(M R + N T).$$

    The output weights ride along, and move if the population flow moves them. It is for smooth activations (erf, square, normal_cdf,
    identity, and those by quadrature); a ReLU's angles would lose half of their digits to the overlaps.

    Attributes:
        population: the flow whose overlaps these are.

    Reference:
        Saad & Solla (1995), On-line learning in soft committee machines, eq. 9-10, at small learning rate.
    """

    population: PopulationFlow

    def __init__(self, population: PopulationFlow):
        """The overlaps' flow.

        Args:
            population: see the class.

        Raises:
            ValueError: the activation is not smooth, or there are biases, a covariance or time scales.
        """
        if not isinstance(population, PopulationFlow):
            raise ValueError(f"order parameters are those of a PopulationFlow, not of {shown(population)}.")
        model = population.model
        if kernel_of(model.activation, population.nodes) is None:
            raise ValueError(f"order parameters are for smooth activations such as erf or square, not {model.activation.name}.")
        if model.bias or "b" in population.teacher:
            raise ValueError("order parameters leave no place for biases: take bias=False and a teacher without b.")
        if population.covariance is not None or population.time_scales is not None:
            raise ValueError("order parameters close for x ~ N(0, I) at one time scale: leave out covariance and time_scales.")
        self.population = population

    @property
    def convention(self) -> str:
        """What the loss is, and with it a unit of time."""
        return self.population.convention

    def init(self, key: PRNGKeyArray) -> Order:
        """The overlaps of the population flow's start."""
        return self.reduce(self.population.init(key))

    def reduce(self, params: TwoLayerParams) -> Order:
        """The overlaps of a student.

        Args:
            params: the population flow's parameters.

        Returns:
            `{"Q": (hidden, hidden), "R": (hidden, unit), "c": (hidden,)}`.
        """
        a = params["a"]
        return {"Q": a @ a.T, "R": a @ self.population.teacher["a"].astype(a.dtype).T, "c": params["c"]}

    def loss(self, y: Order) -> Float[Array, ""]:
        """The population flow's loss."""
        weights, own = self._weights(y), self._moments(y)
        T = self._teacher(y)
        teachers = of_overlaps(self._kernel, Overlaps(jnp.diagonal(T), T, jnp.diagonal(T))).value
        hidden = y["c"].shape[0]
        left, right = weights[:hidden], weights[hidden:]
        value = left @ own.value[:, :hidden] @ left + 2 * left @ own.value[:, hidden:] @ right + right @ teachers @ right
        return 0.5 * value if self.population.halved else value

    def vector_field(self, t: Float[Array, ""], y: Order, args: object = None) -> Order:
        """The velocities of the overlaps, and of the output weights.

        Args:
            t: time, unused.
            y: the overlaps.
            args: unused.

        Returns:
            A dictionary like `y`.
        """
        flow, weights, moments, hidden = self.population, self._weights(y), self._moments(y), y["c"].shape[0]
        factor, moves = 1.0 if flow.halved else 2.0, flow.trainable({"a": y["Q"], "c": y["c"]})
        velocity = jax.tree.map(jnp.zeros_like, y)
        if moves["a"]:
            pull = weights[:hidden, None] * moments.across * weights[None, :]
            own = pull[:, :hidden] + jnp.diag(weights[:hidden] * (moments.along @ weights))
            towards = own @ y["Q"] + pull[:, hidden:] @ y["R"].T
            velocity["Q"] = -factor * (towards + towards.T)
            velocity["R"] = -factor * (own @ y["R"] + pull[:, hidden:] @ self._teacher(y))
        if moves["c"]:
            velocity["c"] = -factor * flow.model.output_factor.astype(y["c"].dtype) * (moments.value @ weights)
        return velocity

    @property
    def _kernel(self):
        kernel = kernel_of(self.population.model.activation, self.population.nodes)
        assert kernel is not None
        return kernel

    def _teacher(self, y: Order) -> Float[Array, "unit unit"]:
        a = self.population.teacher["a"].astype(y["c"].dtype)
        return a @ a.T

    def _weights(self, y: Order) -> Float[Array, " unit"]:
        factor = self.population.model.output_factor.astype(y["c"].dtype)
        return jnp.concatenate([factor * y["c"], -self.population.teacher["c"].astype(y["c"].dtype)])

    def _moments(self, y: Order) -> Moments:
        """Of the students with students and teachers."""
        sizes = jnp.diagonal(y["Q"])
        both = jnp.concatenate([sizes, jnp.diagonal(self._teacher(y))])
        return of_overlaps(self._kernel, Overlaps(sizes, jnp.concatenate([y["Q"], y["R"]], axis=1), both))
