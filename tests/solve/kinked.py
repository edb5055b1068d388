"""Problems with kinks, for the library and for the judge of piecewise.py alike."""

import dataclasses
from functools import cached_property

import jax.numpy as jnp
import numpy as np
import piecewise
from scipy.special import expit

import jaxdyn as jd

DERIVATIVES = {"square": lambda f, y: f - y, "logistic": lambda f, y: -y * expit(-y * f)}


@dataclasses.dataclass(frozen=True)
class Problem:
    """A network f(x) = sum_j c_j act(a_j . x - b_j) / sqrt(m), without b where it is None, and its start.

    Attributes:
        x: inputs, (sample, dim).
        y: targets.
        a: (neuron, dim).
        b: (neuron,), or None.
        c: (neuron,).
        t1: end time.
        slope: of the activation below zero.
        loss: its name.
    """

    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    b: np.ndarray | None
    c: np.ndarray
    t1: float
    slope: float = 0.0
    loss: str = "square"

    @property
    def start(self):
        """The library's parameters."""
        letters = {"a": self.a, "c": self.c} | ({} if self.b is None else {"b": self.b})
        return {letter: jnp.asarray(value, float) for letter, value in letters.items()}

    @property
    def flow(self):
        """The library's flow."""
        act = f"leaky_relu:{self.slope}" if self.slope else "relu"
        model = jd.models.TwoLayer(*np.shape(self.a), bias=self.b is not None, activation=act)
        return jd.flows.GradientFlow(model, getattr(jd.losses, self.loss), jd.data.points(self.x, self.y))

    @property
    def network(self):
        """The judge's network."""
        x = np.asarray(self.x, float)
        rows = x if self.b is None else np.concatenate([x, -np.ones((len(x), 1))], 1)
        return piecewise.Network(rows, self.y, 1 / np.sqrt(len(self.c)), self.slope, DERIVATIVES[self.loss])

    def judged(self, t1=None, pieces=50, **changes):
        """The judge's inner and outer weights at t1 as one table, and its events."""
        other = dataclasses.replace(self, **changes)
        inner = other.a if other.b is None else np.concatenate([other.a, np.asarray(other.b)[:, None]], 1)
        W, c, events = piecewise.solve(other.network, inner, other.c, self.t1 if t1 is None else t1, pieces=pieces)
        return np.concatenate([W, c[:, None]], 1), events

    @cached_property
    def truth(self):
        """What the judge says of the end, and its events."""
        return self.judged()

    def solved(self, rtol, **settings):
        """The library's solution."""
        return jd.solve(self.flow, self.start, **{"t1": self.t1, "rtol": rtol, "record": 2} | settings)


def table(params):
    """Inner and outer weights as the judge has them."""
    inner = [params["a"], *([params["b"][..., None]] if "b" in params else []), params["c"][..., None]]
    return np.concatenate([np.asarray(part) for part in inner], -1)


def error(params, truth):
    """The largest error of a weight, relative to 1 + its size."""
    return float(np.max(np.abs(table(params) - truth) / (1 + np.abs(truth))))


def drawn(seed, n, d, m, t1, bias=True, size=0.7, **rest):
    """A Gaussian problem; the targets are a wave along the first input, or signs for the logistic loss."""
    rng = np.random.default_rng(seed)
    x, a, b, c = rng.normal(size=(n, d)), *(size * rng.normal(size=shape) for shape in ((m, d), m, m))
    y = np.sin(3 * x[:, 0]) + 0.3 * rng.normal(size=n)
    if rest.get("loss") == "logistic":
        y = np.where(y > 0, 1.0, -1.0)
    return Problem(x, y, a, b if bias else None, c, t1, **rest)


def changes(events, k):
    """How many surfaces the event's neuron begins and ceases to slide on."""
    time, neuron, slides, _ = events[k]
    before = [set(event[2]) for event in events if event[1] == neuron and event[0] < time]
    before = before[-1] if before else set()
    return len(set(slides) - before), len(before - set(slides))
