"""The whole public API with wrong values: each call is a ValueError or TypeError of one sentence, raised by jaxdyn's own code.

Every public name of jaxdyn and of its namespaces stands in the table below or is excused by name with a reason, so a new public function
without wrong calls fails here.
"""

import inspect
import types
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd
from jaxdyn import data, flows, losses, measure, models, plot

KEY = jr.key(0)
NAN = float("nan")
MODEL = models.TwoLayer(2, activation="tanh")
SAMPLES = data.sinusoid(n=3)
LABELS = data.points([[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0])
FLOW = flows.GradientFlow(MODEL, losses.square, SAMPLES)
PARAMS = MODEL.init(KEY)
DEEP = models.MLP((2,), activation="tanh")
PLANE = models.TwoLayer(2, 2, bias=False, scaling="one")
POPULATION = flows.PopulationFlow(PLANE, np.eye(2))
SMOOTH = flows.PopulationFlow(models.TwoLayer(2, 2, bias=False, activation="erf", scaling="one"), np.eye(2))
START = {"a": jnp.ones((1, 1)), "b": jnp.ones(1), "c": jnp.ones(1)}  # of another width
LINK = flows.IdentityLinkFlow(0.1 * np.eye(2))


FIGURE = plot.make_figure((2, 2), [["a"]])[0]


def plain(params, x):
    return params["w"] * x[:, 0]


PLAIN = flows.GradientFlow(plain, losses.square, SAMPLES)
ONE = {"w": jnp.ones(())}
DS = {"not": "a Dataset"}
DIRECTIONS = jax.tree.map(lambda leaf: leaf[None], PARAMS)
LANES = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), PARAMS)


class Field:
    """A flow with one part wrong."""

    def __init__(self, velocity=lambda y: -y, loss=lambda y: jnp.sum(y**2)):
        self.velocity, self.value = velocity, loss

    def vector_field(self, t, y, args):
        return self.velocity(y)

    def loss(self, y):
        return self.value(y)


class Network(eqx.Module):
    """A network in the manner of equinox: its parameters are its own."""

    weight: jax.Array

    def __call__(self, x):
        return self.weight * x


def foreign(package):
    """An object of a class that another package would define."""
    return type("Net", (), {"__module__": f"{package}.nn", "apply": lambda self, v, x: x, "init": lambda self, *keys: None})()


class Solve:
    """A call of `solve` with one thing wrong."""

    def __init__(self, **wrong):
        self.wrong = wrong

    def __call__(self):
        call = {"flow": FLOW, "start": PARAMS, "t1": 1.0} | self.wrong
        return jd.solve(call.pop("flow"), call.pop("start"), **call)


class Sweep:
    """A call of `sweep` with one thing wrong."""

    def __init__(self, **wrong):
        self.wrong = wrong

    def __call__(self):
        call = {"flow": FLOW, "seeds": 2, "t1": 1.0, "progress": False} | self.wrong
        return jd.sweep(call.pop("flow"), call.pop("seeds"), **call)


def of(function, *args, **settings):
    """A call."""
    return lambda: function(*args, **settings)


def with_each(function, good, **wrong):
    """Calls with one keyword wrong each; a list has several wrong values."""
    return [of(function, **good | {name: value}) for name, values in wrong.items() for value in values]


BAD_COUNTS, BAD_FLAGS = [0, -1, 2.5, True, None, "3", NAN, 10**12, 10**30], ["no", 2, None, NAN, np.asarray([0, 1])]
BAD_KEYS = [3, None, "key", 1.5, jr.split(KEY, 3)]
SCALES = [-1.0, NAN, np.inf, 1j, "1", None, [1.0, 2.0]]
RULES = [
    jd.LossBelow,
    lambda flow, params: True,
    lambda flow, t, params: NAN,
    lambda flow, t, params: flow.loss(params) - 1.0,
    lambda flow, t, params: jnp.array([True, False]),
    lambda flow, t, params: None,
    lambda flow, t, params: params["nothing"],
    [jd.LossBelow(0.1), jd.GradientNormBelow],
    "loss",
    0.1,
    None,
]
OBSERVE = [
    {"x": lambda flow, t, params: None},
    {"x": lambda flow, t, params: "text"},
    {"x": lambda flow, t, params: {"a": 1.0}},
    {"x": lambda flow, t, params: 1 / 0},
    {"x": lambda flow, t, params: jnp.ones(2) @ jnp.ones(3)},
    {"x": lambda flow, t, params: 1j * flow.loss(params)},
    {"x": lambda flow, params: 1.0},
    {"x": measure.FunctionOn},
    {3: measure.loss},
    [measure.loss],
]
SOLVING = {
    "rtol": [0.0, -1.0, NAN, "fine", True, [1e-3, 1e-4], 1e-30],
    "atol": [-1.0, NAN, "fine"],
    "dt0": [0.0, NAN, "short"],
    "max_steps": [0, 2.5, True, NAN, "many", -3],
    "norm_bound": [0.0, -1.0, NAN, None, "far"],
    "locate_kinks": BAD_FLAGS,
    "solver": ["tsit5", 3],
    "controller": ["PI", 3],
}
RUNNING = SOLVING | {"stop": RULES, "observe": OBSERVE, "key": [3, "key", jr.split(KEY, 2)]}
TABLE = {
    # one lane
    "solve": [
        *with_each(jd.solve, {"flow": FLOW, "start": PARAMS, "t1": 1.0}, **RUNNING),
        *[Solve(t1=t1) for t1 in (None, 0.0, -1.0, NAN, "late", True, 1j, [1.0, 2.0])],
        *[Solve(t0=t0) for t0 in (NAN, np.inf, 2.0, "early", None)],
        *[Solve(record=record) for record in (10**12, 1, 0, -5, 2.5, True, None, "all", [0.0, NAN], [0.5, 0.1], [0.0, 2.0], [])],
        Solve(record="steps", max_steps=10**12),
        *[Solve(record="steps", max_steps=steps) for steps in (2.5, True, "many")],
        *[Solve(checkpoints=number) for number in (0, 2.5, True, "64")],
        *[Solve(start=start) for start in (None, {}, START, jnp.ones(3), {"a": 1.0}, {"a": jnp.ones((1,))}, 3, "params")],
        *[Solve(start={**PARAMS, "c": leaf}) for leaf in (jnp.ones(1), jnp.ones(2, complex), jnp.ones(2, int))],
        *[Solve(flow=flow) for flow in (None, 3, flows.GradientFlow, lambda t, y, args: y, MODEL)],
        *[
            Solve(flow=Field(velocity), start=jnp.ones(2))
            for velocity in (lambda y: 1j * y, lambda y: y.astype(int), lambda y: y.astype("float32"), lambda y: y[:1], lambda y: None)
        ],
        *[
            Solve(flow=Field(loss=loss), start=jnp.ones(2))
            for loss in (lambda y: y, lambda y: 1j * y[0], lambda y: y[0].astype("float32"), lambda y: 3, lambda y: None, lambda y: "low")
        ],
        Solve(flow=flows.GradientFlow(lambda p, x: (1 + 1j) * plain(p, x), losses.square, SAMPLES), start=ONE),
        Solve(flow=flows.GradientFlow(lambda p, x: x[:, 0].astype(int), losses.square, SAMPLES), start=ONE),
        Solve(flow=flows.GradientFlow(lambda p, x: None, losses.square, SAMPLES), start=ONE),
        Solve(flow=flows.GradientFlow(lambda p, x: plain(p, x) - jnp.mean(x), losses.square, SAMPLES), start=ONE),
        Solve(flow=flows.GradientFlow(MODEL, losses.square, SAMPLES, time_scales={"a": 1.0})),
        Solve(flow=flows.GradientFlow(MODEL, losses.square, SAMPLES, time_scales={"a": 1.0, "b": 1.0, "C": 1.0})),
        Solve(flow=flows.GradientFlow(MODEL, losses.square, SAMPLES, time_scales={"a": 1.0, "b": 1.0, "c": [1.0] * 3})),
        Solve(flow=flows.GradientFlow(MODEL, losses.square, SAMPLES, frozen="d")),
        Solve(flow=flows.GradientFlow(MODEL, lambda f, y: f - y, SAMPLES)),
        Solve(flow=flows.GradientFlow(MODEL, lambda f, y: jnp.sum((f - y) ** 2) + 1j, SAMPLES)),
    ],
    "load_solution": [
        of(jd.load_solution, "nowhere.npz", FLOW),
        of(jd.load_solution, 3, FLOW),
        of(jd.load_solution, __file__, FLOW),
        of(jd.load_solution, "nowhere.npz", 3),
        of(jd.load_solution, "nowhere.npz", PLAIN),
        *[of(jd.load_solution, "nowhere.npz", FLOW, observe=observe) for observe in OBSERVE],
        of(jd.load_solution, "nowhere.npz", FLOW, locate_kinks="no"),
        of(jd.load_solution, "nowhere.npz", FLOW, like=START),
    ],
    "tangents": [
        *with_each(jd.tangents, {"flow": FLOW, "start": PARAMS, "directions": DIRECTIONS, "t1": 1.0}, **SOLVING),
        *[of(jd.tangents, FLOW, PARAMS, directions, 1.0) for directions in (None, PARAMS, 3, jax.tree.map(lambda v: 1j * v, DIRECTIONS))],
        *[of(jd.tangents, FLOW, PARAMS, DIRECTIONS, t1) for t1 in (None, -1.0, NAN, "late")],
        *[of(jd.tangents, FLOW, PARAMS, DIRECTIONS, 1.0, record=record) for record in ("steps", 10**12, 1, None, True)],
        of(jd.tangents, FLOW, START, DIRECTIONS, 1.0),
        of(jd.tangents, FLOW, PARAMS, DIRECTIONS, 1.0, stop=jd.LossBelow(0.1)),
        of(jd.tangents, None, PARAMS, DIRECTIONS, 1.0),
    ],
    "lyapunov_exponents": [
        *with_each(jd.lyapunov_exponents, {"flow": FLOW, "start": PARAMS, "t1": 1.0}, **SOLVING),
        *[of(jd.lyapunov_exponents, FLOW, PARAMS, 1.0, count=count) for count in (0, 2.5, True, "all", 100)],
        *[of(jd.lyapunov_exponents, FLOW, PARAMS, 1.0, key=key) for key in (3, "key", jr.split(KEY, 2))],
        *[of(jd.lyapunov_exponents, FLOW, PARAMS, t1) for t1 in (None, -1.0, NAN)],
        of(jd.lyapunov_exponents, FLOW, START, 1.0),
        of(jd.lyapunov_exponents, 3, PARAMS, 1.0),
    ],
    "implicit_derivative": [
        *[of(jd.implicit_derivative, FLOW, PARAMS, FLOW, cutoff=cutoff) for cutoff in (-1.0, NAN, "small", 2.0, 1j)],
        *[of(jd.implicit_derivative, FLOW, PARAMS, FLOW, by_kernel=flag) for flag in BAD_FLAGS],
        *[of(jd.implicit_derivative, FLOW, PARAMS, change) for change in (None, 3, PARAMS)],
        of(jd.implicit_derivative, FLOW, START, FLOW),
        of(jd.implicit_derivative, 3, PARAMS, FLOW),
    ],
    "polish": [
        *with_each(
            jd.polish,
            {"flow": FLOW, "params": PARAMS},
            tolerance=[0.0, -1.0, NAN, "fine", True],
            max_steps=[0, 2.5, True, "many", None],
            radius=[0.0, NAN, "far"],
            saddles=BAD_FLAGS,
            method=["newton", 3, ["eigen"]],
            params=[START, None, 3],
            flow=[3, None, flows.GradientFlow],
        )
    ],
    "polish_lanes": [
        *with_each(
            jd.polish_lanes,
            {"flow": FLOW, "params": LANES},
            tolerance=[0.0, NAN, "fine"],
            max_steps=[0, 2.5, True],
            saddles=BAD_FLAGS,
            method=["newton"],
            batch=BAD_COUNTS,
            devices=[1, [], ["cpu"], "cpu", [jax.devices()[0]] * 2],
            progress=[3, None],
            params=[PARAMS, None, 3, {}],
            flow=[3, None],
        ),
        of(jax.grad(lambda scale: jnp.sum(jd.polish_lanes(FLOW, jax.tree.map(lambda v: scale * v, LANES)).loss)), 1.0),
    ],
    "GradientNormBelow": [of(jd.GradientNormBelow, threshold) for threshold in (NAN, -1.0, "small", None, [1.0, 2.0], 1j, True)],
    "LossBelow": [of(jd.LossBelow, threshold) for threshold in (NAN, np.inf, "small", None, [1.0, 2.0], 1j, True)],
    "SteadyDirection": [of(jd.SteadyDirection, angle) for angle in (NAN, -1.0, "small", None, [1.0, 2.0])],
    "StopWhen": [of(jd.StopWhen, condition) for condition in (3, "loss", None, lambda flow, params: True, jd.LossBelow)],
    # many lanes
    "sweep": [
        *[Sweep(**{name: value}) for name, values in RUNNING.items() for value in values],
        *[Sweep(seeds=seeds) for seeds in (0, -1, 2.5, True, None, "ten", [0, 0], [1.5], [])],
        *[Sweep(t1=t1) for t1 in (None, -1.0, NAN, "late", True, [1.0])],
        *[Sweep(record=record) for record in (10**12, 1, 2.5, True, None, "steps", [0.0, NAN])],
        *[Sweep(width=width) for width in (0, 2.5, True, "wide")],
        *[Sweep(devices=devices) for devices in (1, [], ["cpu"], "cpu", jax.devices()[0], [jax.devices()[0]] * 2)],
        *[Sweep(progress=progress) for progress in (3, None)],
        *[
            Sweep(over=over)
            for over in (
                {"model.init_scale": [np.ones(3)]},
                {"model.init_scale": [1j]},
                {"model.init_scale": [[1.0, 2.0]]},
                {"model.init_scale": [NAN]},
                {"model.init_scale": [-1.0]},
                {"model.init_scale": [None]},
                {"model.width": [2.5]},
                {"model.width": [True]},
                {"model.bias": ["no"]},
                {"data.y": [np.ones(5)]},
                {"data.y": [np.ones((3, 2))]},
                {"max_steps": [2.5]},
                {"t1": [True]},
                {"rtol": ["fine"]},
                {"nothing": [1.0]},
                ["model.init_scale"],
                3,
            )
        ],
        Sweep(flow=flows.GradientFlow(MODEL.apply, losses.square, SAMPLES)),
        Sweep(flow=flows.GradientFlow(plain, losses.square, SAMPLES, initial=lambda key: None)),
        Sweep(flow=flows.GradientFlow(plain, losses.square, SAMPLES, initial=lambda key: {"w": 1})),
        Sweep(flow=flows.GradientFlow(lambda p, x: plain(p, x) - jnp.mean(x), losses.square, SAMPLES, initial=lambda key: ONE)),
        Sweep(flow=flows.GradientFlow),
        Sweep(flow=3),
        of(jax.grad(lambda rtol: jd.sweep(FLOW, 2, t1=rtol, progress=False)["loss_end"].sum()), 1.0),
        of(jax.jit(lambda: jd.sweep(FLOW, 2, t1=1.0, progress=False)["loss_end"].values)),
        of(jax.vmap(lambda key: jd.sweep(FLOW, 2, t1=1.0, key=key, progress=False)["loss_end"].values), jr.split(KEY, 2)),
    ],
    "final_params": [of(jd.final_params, DS, FLOW, 0), of(jd.final_params, None, FLOW, 0)],
    "summarise": [of(jd.summarise, DS), of(jd.summarise, 3)],
    "outcome_counts": [of(jd.outcome_counts, DS), of(jd.outcome_counts, None)],
    # data
    "data.Samples": [
        *[
            of(data.Samples, x, [1.0, 2.0])
            for x in (None, "x", [1j, 2j], [NAN, 1.0], [1.0], np.ones((2, 2, 2)), np.ones((2, 0)), [[1.0], [2.0, 3.0]])
        ],
        *[of(data.Samples, [1.0, 2.0], y) for y in (None, "y", [1j, 2j], [NAN, 1.0], [1.0], np.ones((2, 0)), 3.0)],
        of(data.Samples, [1.0], [1.0], 3),
        *[of(SAMPLES.split, n) for n in (0, 3, 2.5, True, None, "1")],
    ],
    "data.points": [of(data.points, [1.0, 1j], [1.0, 1.0]), of(data.points, [], []), of(data.points, [1.0], [1.0], name=None)],
    "data.train_test": [
        *with_each(
            data.train_test,
            {"samples": SAMPLES, "fraction": 0.5, "key": KEY},
            fraction=[0.0, 1.0, NAN, "half", True],
            key=BAD_KEYS,
            samples=[3, None, data.Samples],
        )
    ],
    "data.cone": with_each(
        data.cone,
        {"n": 3, "mu": 0.5, "dim": 3, "key": KEY},
        n=[1, *BAD_COUNTS],
        dim=[1, *BAD_COUNTS],
        mu=[1.0, NAN, "half", 1j],
        norm=[0.0, -1.0, NAN, "unit", None],
        equal=BAD_FLAGS,
        balanced=BAD_FLAGS,
        key=BAD_KEYS,
    ),
    "data.orthonormal": with_each(
        data.orthonormal,
        {"n": 2, "dim": 3, "key": KEY},
        n=[4, *BAD_COUNTS],
        dim=BAD_COUNTS,
        norm=[0.0, NAN, "unit"],
        balanced=BAD_FLAGS,
        key=BAD_KEYS,
    ),
    "data.nearly_orthogonal": with_each(
        data.nearly_orthogonal,
        {"n": 2, "dim": 3, "key": KEY},
        n=BAD_COUNTS,
        dim=BAD_COUNTS,
        norm=[0.0, NAN, "unit"],
        balanced=BAD_FLAGS,
        key=BAD_KEYS,
    ),
    "data.clusters": with_each(
        data.clusters,
        {"n": 2, "dim": 3, "key": KEY},
        n=[1, *BAD_COUNTS],
        dim=BAD_COUNTS,
        separation=[0.0, NAN, "far", None],
        spread=[-1.0, NAN, "wide"],
        key=BAD_KEYS,
    ),
    "data.gaussian_teacher": with_each(
        data.gaussian_teacher,
        {"n": 2, "teacher": lambda x: x[:, 0], "dim": 2, "key": KEY},
        n=BAD_COUNTS,
        dim=BAD_COUNTS,
        noise=[-1.0, NAN, "loud"],
        key=BAD_KEYS,
        covariance=[np.ones(2), 1j * np.eye(2), "unit", -np.eye(2), np.array([[1.0, 2.0], [0.0, 1.0]])],
        teacher=[None, 3, lambda: 1.0, lambda x: x[:, 5:] @ jnp.ones(7), lambda x: jnp.ones(7), lambda x: x[:, 0] * NAN],
    ),
    "data.digits": with_each(data.digits, {}, first=[1, -1, 10, 2.5, "0", None, True], second=[0, 10, 2.5], n=[1, 2.5, True, "all", 10**6]),
    "data.mnist": [
        of(data.mnist, "nowhere"),
        of(data.mnist, None),
        of(data.mnist, 3),
        of(data.mnist, "nowhere", split="all"),
        of(data.mnist, "nowhere", 1, 1),
        of(data.mnist, "nowhere", split=None),
    ],
    "data.check_labels": [of(data.check_labels, SAMPLES), of(data.check_labels, 3), of(data.check_labels, None)],
    "data.check_signs": [of(data.check_signs, data.points([[0.0, 0.0]], [1.0])), of(data.check_signs, SAMPLES), of(data.check_signs, 3)],
    "data.smallest_cosine": [
        of(data.smallest_cosine, data.points([[1.0, 0.0]], [1.0])),
        of(data.smallest_cosine, SAMPLES),
        of(data.smallest_cosine, None),
    ],
    "data.flip_labels": with_each(
        data.flip_labels,
        {"samples": LABELS, "share": 0.5, "key": KEY},
        share=[-0.1, 1.1, NAN, "half", None],
        key=BAD_KEYS,
        samples=[SAMPLES, None],
    ),
    "data.with_outliers": with_each(
        data.with_outliers,
        {"samples": LABELS, "share": 0.5, "size": 1.0, "key": KEY},
        share=[-0.1, NAN, "half"],
        size=[-1.0, NAN, np.inf, "far"],
        key=BAD_KEYS,
        samples=[None, 3],
    ),
    "data.sinusoid": with_each(
        data.sinusoid, {}, n=BAD_COUNTS, periods=[NAN, "one", 1j, None], amplitude=[NAN, "one"], phase=[np.inf, "one"]
    ),
    "data.square_wave": with_each(
        data.square_wave, {}, n=BAD_COUNTS, low=[NAN, "low"], high=[np.inf, None], periods=[0.3, NAN, "one", 100.0, 1e308]
    ),
    # losses
    "losses.loss": [of(losses.loss, name) for name in ("hing", None, 3, ["square"], losses.Square)],
    **{
        f"losses.{loss.name}": [
            of(loss, jnp.ones(3), jnp.ones(2)),
            of(loss, jnp.ones((3, 2, 2)), jnp.ones((3, 2, 2))),
            of(loss, jnp.ones(()), jnp.ones(())),
        ]
        for loss in (
            losses.square,
            losses.mean_square,
            losses.logistic,
            losses.exponential,
            losses.hinge,
            losses.squared_hinge,
            losses.cross_entropy,
            losses.correlation,
        )
    },
    # models
    "models.TwoLayer": [
        *with_each(
            models.TwoLayer,
            {"width": 2},
            width=BAD_COUNTS,
            dim=BAD_COUNTS,
            bias=BAD_FLAGS,
            balanced=BAD_FLAGS,
            antisymmetric=BAD_FLAGS,
            committee=BAD_FLAGS,
            alternating=BAD_FLAGS,
            init_scale=SCALES,
            scale_a=SCALES,
            scale_b=SCALES,
            scale_c=SCALES,
            output_multiplier=[NAN, 1j, "1", None, [1.0, 2.0]],
            delta=[NAN, 1j, "1", 1.0],
            activation=["reluu", None, 3, ["relu"]],
            scaling=["half", None, 3, ["one"]],
            trains=["abd", (), None, 3, "aa", [1, 2]],
            orientation=[2, "up", np.asarray([0, 1])],
            knots=[(0.0,), (1.0, 0.0), (0.0, NAN), "all", 3.0],
        ),
        *[of(MODEL.init, key) for key in BAD_KEYS],
        of(MODEL.apply, PARAMS, jnp.ones(3)),
        of(MODEL.apply, PARAMS, jnp.ones((3, 2))),
    ],
    "models.MLP": [
        *with_each(
            models.MLP,
            {"widths": (2,)},
            widths=[2, (0,), (2.5,), (True,), None, "2"],
            dim=BAD_COUNTS,
            outputs=BAD_COUNTS,
            bias=BAD_FLAGS,
            balanced=BAD_FLAGS,
            init_scale=SCALES,
            output_multiplier=[NAN, 1j, "1"],
            activation=["reluu", None, 3],
        ),
        *[of(DEEP.init, key) for key in BAD_KEYS],
        of(DEEP.apply, DEEP.init(KEY), jnp.ones(3)),
    ],
    "models.Centred": [
        *[of(models.Centred, model) for model in (None, 3, plain, models.TwoLayer)],
        *[of(models.Centred, MODEL, scale) for scale in (NAN, 1j, "1", None)],
        of(models.Centred(MODEL).init, 3),
    ],
    "models.Taylor": [
        *[of(models.Taylor, model) for model in (None, 3, plain)],
        *[of(models.Taylor, MODEL, order=order) for order in BAD_COUNTS],
        of(models.Taylor(MODEL).init, 3),
    ],
    "models.Activation": [of(models.Activation, name) for name in ("reluu", None, 3, ["relu"], "leaky_relu:nan", "relu^0")],
    "models.activation": [of(models.activation, name) for name in ("reluu", None, 3)],
    "models.balanced_split": [
        of(models.balanced_split, "one"),
        of(models.balanced_split, 1j),
        of(models.balanced_split, jnp.ones(2), jnp.ones(3)),
        *[of(models.balanced_split, 1.0, 0.0, degree) for degree in BAD_COUNTS],
    ],
    "models.balanced_layers": [of(models.balanced_layers, params) for params in (None, PARAMS, [], [{"v": 1.0}], 3)]
    + [of(models.balanced_layers, DEEP.init(KEY), degree) for degree in BAD_COUNTS],
    "models.homogeneity": [
        of(models.homogeneity, 3, PARAMS, SAMPLES.x),
        of(models.homogeneity, MODEL, PARAMS, SAMPLES.x),
        of(models.homogeneity, models.TwoLayer, PARAMS, SAMPLES.x),
        of(models.homogeneity, lambda p, x: 0.0 * x[:, 0], ONE, SAMPLES.x),
        of(models.homogeneity, MODEL, ONE, SAMPLES.x),
    ],
    "models.split_neuron": with_each(
        models.split_neuron,
        {"model": MODEL, "params": PARAMS, "neuron": 0},
        neuron=[2, -3, 1.5, True, "first", None],
        share=[NAN, "half", None, 1j],
        inner=[True, *BAD_FLAGS],
        model=[DEEP, None],
        params=[None, DEEP.init(KEY), ONE],
    ),
    "models.add_neuron": with_each(
        models.add_neuron,
        {"model": MODEL, "params": PARAMS, "key": KEY},
        key=BAD_KEYS,
        inner_scale=[NAN, "1", None],
        outer=[NAN, 1j],
        model=[DEEP, None],
        params=[None, ONE],
    ),
    # flows
    "flows.GradientFlow": [
        *with_each(
            flows.GradientFlow,
            {"model": MODEL, "loss_function": losses.square, "data": SAMPLES},
            model=[
                None,
                3,
                models.TwoLayer,
                lambda x: x,
                Network(jnp.ones(3)),
                eqx.nn.Linear(1, 1, key=KEY),
                foreign("flax"),
                foreign("haiku"),
                foreign("torch"),
                foreign("keras"),
            ],
            loss_function=[None, "square", losses.Square, losses.logistic, lambda f: f, 3],
            data=[None, 3, (1.0, 2.0), data.Samples],
            time_scales=[-1.0, NAN, "fast", {"a": -1.0}, {"a": 1j}, {"a": "fast"}],
            weight_decay=[-1.0, NAN, "some", [1.0, 2.0], 1j, True],
            norm_barrier=[-1.0, NAN, "some", [1.0, 2.0]],
            frozen=[5, ("a", 5), {"a": 1.0}, None],
            initial=[{"a": 1.0}, 3, lambda: 1.0, "normal"],
            mixes_samples=BAD_FLAGS,
        ),
        *[of(FLOW.init, key) for key in BAD_KEYS],
        of(PLAIN.init, KEY),
    ],
    "flows.LinearisedFlow": [of(flows.LinearisedFlow, flow) for flow in (None, MODEL, POPULATION, flows.GradientFlow)],
    "flows.LinearisedSolution": [
        *[
            of(flows.LinearisedSolution, flow, PARAMS)
            for flow in (None, POPULATION, flows.GradientFlow(MODEL, losses.logistic, data.points([1.0], [1.0])))
        ],
        *[of(flows.LinearisedSolution, FLOW, params) for params in (START, None, ONE)],
        *[of(lambda t: flows.LinearisedSolution(FLOW, PARAMS).params(t), t) for t in (NAN, -1.0, "late", None, 1j, [[1.0]])],
    ],
    "flows.CorrelationFlow": [
        of(flows.CorrelationFlow, None, losses.square, SAMPLES),
        of(flows.CorrelationFlow, MODEL, None, SAMPLES),
        of(flows.CorrelationFlow, MODEL, losses.square, None),
        *[of(flows.CorrelationFlow, MODEL, losses.square, SAMPLES, sphere=flag) for flag in BAD_FLAGS],
    ],
    "flows.ReducedFlow": [
        of(flows.ReducedFlow, None, losses.square, SAMPLES),
        of(flows.ReducedFlow, MODEL, losses.square, SAMPLES),
        of(flows.ReducedFlow, models.TwoLayer(2), None, SAMPLES),
        of(flows.ReducedFlow, models.TwoLayer(2), losses.square, 3),
        of(flows.ReducedFlow, models.TwoLayer(2), losses.logistic, SAMPLES),
    ],
    "flows.StochasticDescent": [
        *with_each(
            flows.StochasticDescent,
            {"flow": FLOW, "learning_rate": 0.1},
            flow=[None, 3, Field(), flows.GradientFlow],
            learning_rate=[0.0, -1.0, NAN, "fast", None, [0.1, 0.2], 1j, lambda: 0.1],
            optimiser=[None, 3, lambda: 0],
            batch=[*BAD_COUNTS[:4], "all", 100],
            replacement=BAD_FLAGS,
            label_noise=[-1.0, NAN, "loud"],
        ),
        Solve(flow=flows.StochasticDescent(FLOW, lambda step: None)),
        Solve(flow=flows.StochasticDescent(FLOW, lambda step: jnp.ones(2))),
        of(flows.StochasticDescent, flows.Clock(FLOW, flows.arc_length), 0.1),
    ],
    "flows.Clock": [
        *[of(flows.Clock, flow, flows.arc_length) for flow in (None, 3, MODEL)],
        *[of(flows.Clock, FLOW, speed) for speed in (None, 3, "loss", lambda flow: 1.0)],
    ],
    "flows.DirectionClock": [
        of(flows.DirectionClock, FLOW),
        *[of(flows.DirectionClock, flow) for flow in (None, 3, POPULATION, Field(), flows.Clock(FLOW, flows.arc_length))],
        *[
            of(flows.DirectionClock, flows.GradientFlow(models.TwoLayer(2), losses.square, SAMPLES), order=order)
            for order in (3, 1, 0, -1.0, NAN, "two")
        ],
        *[
            of(flows.DirectionClock, flows.GradientFlow(models.TwoLayer(2), losses.square, SAMPLES), log_norm=size)
            for size in (NAN, np.inf, "small", 1j)
        ],
        of(flows.DirectionClock, flows.GradientFlow(models.TwoLayer(2), losses.square, SAMPLES, weight_decay=0.1)),
    ],
    "flows.PopulationFlow": [
        *with_each(
            flows.PopulationFlow,
            {"model": PLANE, "teacher": np.eye(2)},
            model=[None, DEEP, plain],
            teacher=[None, "one", np.ones(3), np.ones((2, 3)), {"b": np.ones(2)}, 1j * np.eye(2), NAN * np.eye(2)],
            covariance=[np.ones(2), -np.eye(2), 1j * np.eye(2), "unit", NAN * np.eye(2)],
            time_scales=[-1.0, NAN, {"a": 1.0}, {"d": 1.0}, "fast"],
            halved=BAD_FLAGS,
            frozen=[5, "d", ("a", 3)],
            nodes=BAD_COUNTS,
        ),
        of(POPULATION.init, 3),
    ],
    "flows.IdentityLinkFlow": [
        *[of(flows.IdentityLinkFlow, teacher) for teacher in (None, np.ones((2, 3)), -np.eye(2), "one", 1j * np.eye(2), NAN * np.eye(2))],
        *[of(flows.IdentityLinkFlow, 0.1 * np.eye(2), init_scale=scale) for scale in (-1.0, NAN, "1", None)],
        of(LINK.init, 3),
    ],
    "flows.OrderParameterFlow": [of(flows.OrderParameterFlow, flow) for flow in (None, POPULATION, FLOW, MODEL)]
    + [of(flows.OrderParameterFlow(SMOOTH).init, 3)],
    "flows.PolarTeacherFlow": with_each(
        flows.PolarTeacherFlow, {"dim": 2}, dim=[1, *BAD_COUNTS], teacher_norm=[0.0, -1.0, NAN, "one"], init_scale=[-1.0, NAN, "one"]
    )
    + [of(flows.PolarTeacherFlow(2).init, 3)],
    "flows.SymmetricTeacherFlow": with_each(
        flows.SymmetricTeacherFlow, {"number": 2}, number=[1, 2.5, NAN, "two", None, 1j], init_scale=[-1.0, NAN, "one"]
    )
    + [of(flows.SymmetricTeacherFlow(2).init, 3)],
    "flows.reduce_univariate": [of(flows.reduce_univariate, params) for params in (None, ONE, DEEP.init(KEY), 3)],
    "flows.expand_reduced": [of(flows.expand_reduced, params) for params in (None, ONE, PARAMS, 3)],
    "flows.check_independent": [
        of(flows.check_independent, flows.GradientFlow(lambda p, x: plain(p, x) - jnp.mean(x), losses.square, SAMPLES), ONE)
    ],
    "flows.check_methods": [of(flows.check_methods, flow) for flow in (None, 3, flows.GradientFlow, MODEL)],
    "flows.check_shapes": [of(flows.check_shapes, FLOW, params) for params in (START, ONE, {"a": jnp.ones((2, 1))})],
    "open": [of(jd.open, path) for path in ("no/such/place", 3, None)],
    "models.Network": [
        *[of(models.Network, function, MODEL.init) for function in (None, 3, "tanh")],
        *[of(models.Network, plain, start) for start in (None, 3, PARAMS)],
        *[of(models.Network, plain, MODEL.init, init_scale=scale) for scale in ("big", 1j, jnp.ones(2), None)],
    ],
    "flows.loss_time": [of(flows.loss_time, 3, PARAMS, PARAMS)],
}
OBSERVABLES = [
    "alignment_sets",
    "aligned",
    "balancedness",
    "conserved",
    "conserved_drift",
    "log_norm",
    "log_time",
    "neuron_angles",
    "correlation",
    "correlation_cosine",
    "correlation_kkt_residual",
    "critical_point",
    "gradient_norm",
    "loss",
    "outputs",
    "hessian",
    "hessian_spectrum",
    "potential",
    "ntk",
    "ntk_change",
    "ntk_alignment",
    "ntk_angle",
    "ntk_condition",
    "ntk_spectrum",
    "ntk_velocity",
    "pattern_changes",
    "slides",
    "sliding_gates",
    "sliding_weight",
    "function_distance_to_linearisation",
    "parameter_distance_to_linearisation",
    "normalised_margin",
    "parameter_norm",
    "parameter_distance",
    "effective_rank",
    "layer_shares",
    "rank_one_share",
    "singular_values",
    "stable_rank",
    "knot_movement",
    "weight_near_samples",
]
for name in OBSERVABLES:
    function = getattr(measure, name)
    start = ("start",) if "start" in inspect.signature(function).parameters else ()
    calls = [
        (FLOW, 0.0, START),
        (FLOW, 0.0, {**PARAMS, "c": jnp.ones(1)}),
        (FLOW, 0.0, None),
        (FLOW, 0.0, 3),
        (flows.GradientFlow, 0.0, PARAMS),
    ]
    TABLE[f"measure.{name}"] = [of(function, *call, *(PARAMS for _ in start)) for call in calls]
KERNELS = [name for name in OBSERVABLES if name.startswith("ntk")]
MIXING = flows.GradientFlow(lambda p, x: plain(p, x) - jnp.mean(plain(p, x)), losses.square, SAMPLES)
for name in KERNELS:
    start = (ONE,) if "start" in inspect.signature(getattr(measure, name)).parameters else ()
    TABLE[f"measure.{name}"] += [of(getattr(measure, name), MIXING, 0.0, ONE, *start)]
    TABLE[f"measure.{name}"] += [
        of(getattr(measure, name), FLOW, 0.0, PARAMS, *([PARAMS] if start else []), **wrong)
        for wrong in (
            {"outputs": "all"},
            {"outputs": 3},
            {"memory": 0},
            {"memory": NAN},
            {"memory": "much"},
            {"memory": True},
            {"mixes_samples": "no"},
        )
    ]
TABLE |= {
    "measure.correlation_kkt": [
        of(measure.correlation_kkt, PLAIN, None),
        of(measure.correlation_kkt, 3, ONE),
        of(measure.correlation_kkt, FLOW, PARAMS),
        *[of(measure.correlation_kkt, PLAIN, ONE, zero) for zero in (-1.0, NAN, "small")],
        *[of(measure.correlation_kkt, PLAIN, ONE, slots=slots) for slots in BAD_COUNTS],
    ],
    "measure.margin_kkt": [
        of(measure.margin_kkt, FLOW, PARAMS),
        of(measure.margin_kkt, 3, ONE),
        of(measure.margin_kkt, PLAIN, ONE, -1.0),
        of(measure.margin_kkt, PLAIN, ONE, slots=0),
    ],
    "measure.hessian_ends": [of(measure.hessian_ends, FLOW, PARAMS, key=key) for key in BAD_KEYS]
    + [of(measure.hessian_ends, FLOW, PARAMS, key=KEY, num_steps=steps) for steps in BAD_COUNTS]
    + [of(measure.hessian_ends, FLOW, START, key=KEY)],
    "measure.hessian_density": [of(measure.hessian_density, FLOW, PARAMS, key=key) for key in BAD_KEYS]
    + [of(measure.hessian_density, FLOW, PARAMS, key=KEY, num_probes=number) for number in BAD_COUNTS],
    "measure.knots": [of(measure.knots, FLOW, 0.0, params) for params in (None, ONE, DEEP.init(KEY), START)],
    "measure.angles_between": [of(measure.angles_between, vectors) for vectors in (None, jnp.ones(3), "vectors", 3)],
    "measure.clusters": [of(measure.clusters, vectors, 0.1) for vectors in (None, jnp.ones(3), "vectors")]
    + [of(measure.clusters, np.eye(2), angle) for angle in (None, "small")]
    + [of(measure.clusters, np.eye(2), 0.1, weights=np.ones(3))],
    "measure.held_out_loss": [of(measure.held_out_loss, samples) for samples in (None, 3, (1.0, 2.0), data.Samples)],
    "measure.HeldOutLoss": [of(measure.HeldOutLoss(SAMPLES), FLOW, 0.0, START), of(measure.HeldOutLoss(SAMPLES), 3, 0.0, PARAMS)],
    "measure.function_on": [of(measure.function_on, grid) for grid in (None, "grid", [], np.ones((2, 2, 2)), [1j])],
    "measure.FunctionOn": [of(measure.FunctionOn([1.0]), FLOW, 0.0, START), of(measure.FunctionOn([1.0]), Field(), 0.0, PARAMS)],
    "measure.one_point_convexity": [of(measure.one_point_convexity, PARAMS, relative=flag) for flag in BAD_FLAGS],
    "measure.OnePointConvexity": [
        of(measure.OnePointConvexity(START), FLOW, 0.0, PARAMS),
        of(measure.OnePointConvexity(PARAMS), 3, 0.0, PARAMS),
        of(measure.OnePointConvexity(None), FLOW, 0.0, PARAMS),
    ],
    "measure.linear_spline_distance": [
        of(measure.linear_spline_distance, LABELS),
        of(measure.linear_spline_distance, None),
        *[of(measure.linear_spline_distance, SAMPLES, points=points) for points in (1, *BAD_COUNTS)],
    ],
    "measure.cubic_spline_distance": [
        of(measure.cubic_spline_distance, LABELS),
        of(measure.cubic_spline_distance, None),
        *[of(measure.cubic_spline_distance, SAMPLES, points=points) for points in (1, *BAD_COUNTS)],
    ],
    "measure.SplineDistance": [
        of(measure.SplineDistance, np.ones(3), np.ones(3)),
        of(measure.SplineDistance, None, None),
        of(measure.SplineDistance(np.ones((1, 1)), np.ones(1)), 3, 0.0, PARAMS),
    ],
    "measure.clamped_cubic_spline": [of(measure.clamped_cubic_spline, x, [1.0, 2.0]) for x in (None, [1.0], [1.0, 1.0], [1.0, NAN], "x")],
    "measure.natural_cubic_spline": [of(measure.natural_cubic_spline, x, [1.0, 2.0]) for x in (None, [1.0], [1.0, 1.0], [1.0, NAN], "x")],
    "measure.second_derivative_residual": [
        of(measure.second_derivative_residual, *call)
        for call in ((None, None, None), (np.ones(2), np.ones(3), np.ones(2)), ("k", "w", "x"))
    ],
    "measure.infinite_kernels": [of(measure.infinite_kernels, x) for x in (None, jnp.ones(3), "x")]
    + with_each(
        measure.infinite_kernels,
        {"x": jnp.ones((2, 2))},
        activation=["tanh", None, 3],
        depth=BAD_COUNTS,
        weight_variance=["one", None, -1.0, NAN],
        bias_variance=[(1.0,), "one", -1.0],
        normalise_inputs=BAD_FLAGS,
    ),
    "measure.isotropy": [of(measure.isotropy, student) for student in (None, np.ones(3), np.ones((2, 3)), "student", NAN * np.eye(2))]
    + [of(measure.isotropy, np.eye(2), tolerance=tolerance) for tolerance in (-1.0, NAN, "small")],
    "measure.distinct_values": [
        of(measure.distinct_values, "values", tolerance=0.1),
        of(measure.distinct_values, None, tolerance=0.1),
        of(measure.distinct_values, [1.0], tolerance=NAN),
    ],
    "measure.match_neurons": [
        of(measure.match_neurons, student, np.eye(2))
        for student in (None, np.ones(3), np.ones((1, 2)), "student", NAN * np.eye(2), {"b": 1.0})
    ]
    + [of(measure.match_neurons, np.eye(2), np.eye(2), by=by) for by in ("angle", None, 3)],
    "measure.max_margin": [of(measure.max_margin, x) for x in (None, np.ones(3), np.zeros((1, 2)), [[NAN, 1.0]], "x", [[1j, 1.0]])],
    "measure.class_margins": [of(measure.class_margins, samples) for samples in (None, SAMPLES, data.points([1.0], [1.0]), 3)],
    "measure.first_aligned_time": [of(measure.first_aligned_time, ts, [True, False]) for ts in (None, [], [1.0], "times", 3.0)],
    "plot.movie_writer": [of(plot.movie_writer, path) for path in ("film.avi", "film", None, 3)]
    + [of(plot.movie_writer, "a.gif", fps) for fps in BAD_COUNTS],
    "plot.save_animation": [
        of(plot.save_animation, None, lambda k: None, 2, "a.gif"),
        *[of(plot.save_animation, FIGURE, lambda k: None, frames, "a.gif") for frames in BAD_COUNTS],
        of(plot.save_animation, FIGURE, None, 2, "a.gif"),
    ],
    "plot.save": [of(plot.save, None, ["a.png"]), of(plot.save, FIGURE, None), of(plot.save, FIGURE, "a.png"), of(plot.save, FIGURE, [3])],
    "plot.make_figure": [
        of(plot.make_figure, size, layout) for size, layout in (((4, 3), 3), ((4, 3), None), ("large", [["a"]]), ((NAN, 3), [["a"]]))
    ],
}
RESULT, TYPE = "a result, which jaxdyn makes and nobody passes values to", "an abstract class or a type, which nobody calls"
EXCUSED = {
    "Outcome": "an enumeration, whose own ValueError of Python names the value",
    "KernelExponential": "takes no arguments",
    "RungeKuttaChebyshev": "takes a number of stages only, checked in tests/solve/test_chebyshev.py",
    **dict.fromkeys(["ImplicitDerivative", "LyapunovExponents", "Polished", "Solution"], RESULT),
    **dict.fromkeys(["flows.AbstractFlow", "flows.AbstractWrapper", "flows.Clocked", "flows.Polar", "flows.Gates"], TYPE),
    **dict.fromkeys(["flows.innermost", "flows.network_params"], "lets every object pass that is no wrapper"),
    **dict.fromkeys(["models.AbstractModel", "models.Neurons", "losses.AbstractLoss"], TYPE),
    "models.trainable": "lets every model and all params pass",
    **{
        f"losses.{name}": "a class without arguments; its instance is in the table"
        for name in ("Correlation", "CrossEntropy", "Exponential", "Hinge", "Logistic", "MeanSquare", "Square", "SquaredHinge")
    },
    **{
        f"measure.{name}": RESULT
        for name in (
            "AlignedTimes",
            "Clusters",
            "CorrelationKKT",
            "CriticalPoint",
            "SecondDerivativeResidual",
            "HessianEnds",
            "SpectralDensity",
            "InfiniteKernels",
            "Isotropy",
            "ClassMargins",
            "MaxMargin",
            "MarginKKT",
            "NeuronMatch",
        )
    },
    "measure.KernelOptions": TYPE,
    "flows.arc_length": "the norm of any pytree",
    "plot.style": "takes no arguments",
    **{f"plot.{name}": "a colour" for name in ("BLUE", "GREEN", "GREY", "INK", "ORANGE")},
}


def test_every_public_name_is_in_the_table():
    public = {name for name in dir(jd) if not name.startswith("_") and not isinstance(getattr(jd, name), types.ModuleType)}
    for space in (data, flows, losses, measure, models, plot):
        short = space.__name__.rpartition(".")[2]
        public |= {
            f"{short}.{name}" for name in vars(space) if not name.startswith("_") and not isinstance(getattr(space, name), types.ModuleType)
        }
    named = set(TABLE) | set(EXCUSED)
    assert public - named == set(), "give these public names wrong calls, or excuse them"
    assert named - public == set(), "these are no public names"
    assert not set(TABLE) & set(EXCUSED)


def complaint(call):
    """What is wrong with how a wrong call ends; nothing where it is as it should be."""
    try:
        found = call()
    except Exception as error:
        last = error.__traceback__
        while last.tb_next is not None:
            last = last.tb_next
        text = str(error)
        from_jaxdyn = Path(last.tb_frame.f_code.co_filename).is_relative_to(Path(jd.__file__).parent)
        signature = isinstance(error, TypeError) and "argument" in text
        problems = [
            f"a {type(error).__name__}" * (not isinstance(error, ValueError | TypeError)),
            f"raised in {last.tb_frame.f_code.co_filename}" * (not from_jaxdyn and not signature),
            "several lines" * ("\n" in text),
            "too long" * (len(text) > 600),
            "empty" * (not text),
        ]
        return ", ".join(filter(None, problems)) and f"{', '.join(filter(None, problems))}: {text[:200]!r}"
    return f"accepted, with {' '.join(repr(found).split())[:80]}"


@pytest.mark.parametrize("name", TABLE)
def test_wrong_calls_are_sentences(name):
    wrong = {
        f"{k}: {inspect.getclosurevars(call).nonlocals if inspect.isfunction(call) else vars(call)}"[:300]: said
        for k, call in enumerate(TABLE[name])
        if (said := complaint(call))
    }
    assert not wrong, "\n".join(f"{call} -> {said}" for call, said in wrong.items())
