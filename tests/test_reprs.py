"""What is printed are the numbers themselves, shapes where they are traced, and never a bare NaN for what was not declared."""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr

import jaxdyn as jd
from jaxdyn._repr import text_of

DATA = jd.data.points([[1.0], [-0.5]], [0.3, 0.7])


class Decay(jd.flows.AbstractFlow):
    """dy/dt = -rate y, whose product of the two parameters with their powers is conserved where they are told so."""

    rate: jax.Array
    conserves: bool = eqx.field(static=True, default=False)

    def vector_field(self, t, y, args=None):
        return {"u": -self.rate * y["u"], "v": self.rate * y["v"]}

    def loss(self, y):
        return jnp.sum(y["u"] ** 2)

    def init(self, key):
        return {"u": jnp.asarray([3.0, 4.0]), "v": jnp.asarray(0.5)}

    def conserved(self, y):
        return y["u"] * y["v"] if self.conserves else None


@pytest.fixture(scope="module")
def solved():
    flow = Decay(jnp.asarray(0.25))
    return flow, jd.solve(flow, flow.init(jr.key(0)), t1=2.0, observe={"norm": lambda flow, t, p: p["v"]})


def test_solution_prints_its_numbers(solved):
    _, sol = solved
    text = repr(sol)
    assert "t1_reached at t = 2." in text
    found = re.search(r"loss +(\S+) -> (\S+);", text)
    np.testing.assert_allclose([float(found[1]), float(found[2])], [25.0, 25.0 * np.exp(-1.0)], rtol=1e-5)  # |u|^2 falls as exp(-2 rate t)
    steps = re.search(r"(\d+) steps accepted", text)
    assert int(steps[1]) == int(sol.certificate.num_accepted_steps)
    assert "u (2,), v (): 3 numbers" in text
    assert "conserved  not declared" in text and "nan" not in text


def test_certificate_says_what_there_is_no_number_for(solved):
    _, sol = solved
    text = repr(sol.certificate)
    assert "conserved_drift=not declared" in text and "first_kink=none" in text and "nan" not in text
    assert "loss_start=25," in text
    with_drift = Decay(jnp.asarray(0.25), conserves=True)
    declared = jd.solve(with_drift, with_drift.init(jr.key(0)), t1=2.0)
    drift = float(re.search(r"conserved_drift=(\S+),", repr(declared.certificate))[1])
    assert 0 <= drift < 1e-5 and "conserved  drift" in repr(declared)
    uncounted = dataclasses.replace(declared.certificate, num_field_evaluations=jnp.asarray(-1))
    assert "num_field_evaluations=not counted" in repr(uncounted)


def test_lanes_print_ranges(solved):
    flow, _ = solved
    rates = jnp.asarray([0.25, 0.5, 1.0])
    sols = jax.vmap(lambda rate: jd.solve(Decay(rate), flow.init(jr.key(0)), t1=1.0, stop=jd.LossBelow(5.0)))(rates)
    text = repr(sols)
    assert "3 lanes: 2 t1_reached, 1 stopped" in text
    low, high = map(float, re.search(r"-> (\S+) to (\S+);", text).groups())
    np.testing.assert_allclose([low, high], [np.min(sols.certificate.loss_end), np.max(sols.certificate.loss_end)], rtol=1e-5)
    assert "conserved  not declared" in text
    assert "loss_start=[25, 25, 25]" in repr(sols.certificate)


def test_traced_solutions_print_shapes(solved):
    flow, sol = solved
    seen = {}

    @jax.jit
    def solve(y):
        sol = jd.solve(flow, y, t1=2.0)
        seen.update(sol=repr(sol), html=sol._repr_html_(), certificate=repr(sol.certificate), rule=repr(jd.LossBelow(y["v"])))
        return sol

    solve(sol.params)
    assert "traced" in seen["sol"] and "f64[]" in seen["sol"] and "traced" in seen["html"]
    assert "conserved_drift=f64[]" in seen["certificate"]
    assert seen["rule"] == "LossBelow(threshold=f64[])"
    assert "traced" in repr(jax.eval_shape(lambda y: jd.solve(flow, y, t1=2.0), sol.params))


def inside_vmap(make):
    """The repr of what `make` makes of a number under vmap."""
    seen = []
    jax.vmap(lambda x: (seen.append(repr(make(x))), x)[1])(jnp.ones(3))
    return seen[0]


SMALL = jd.models.TwoLayer(width=3, init_scale=0.25, activation="tanh")
FLOW = jd.flows.GradientFlow(SMALL, jd.losses.square, DATA, weight_decay=1e-3)


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (jd.LossBelow(1e-6), "LossBelow(threshold=1e-06)"),
        (jd.GradientNormBelow(2.5e-9), "GradientNormBelow(threshold=2.5e-09)"),
        (jd.SteadyDirection(1e-3), "SteadyDirection(angle=0.001)"),
        (SMALL, "init_scale=0.25"),
        (SMALL, "Activation(name='tanh')"),
        (FLOW, "weight_decay=0.001"),
        (FLOW, "y=[0.3, 0.7]"),
        (FLOW, "1/2 sum over samples"),
        (jd.flows.LinearisedFlow(FLOW), "weight_decay=0.001"),
        (jd.flows.StochasticDescent(FLOW, 0.125), "learning_rate=0.125"),
        (jd.models.Centred(SMALL, output_multiplier=7.0), "output_multiplier=7"),
        (DATA, "y=[0.3, 0.7]"),
        (jd.LyapunovExponents(jnp.asarray([-0.5, -2.0]), {}, jnp.asarray(3.0), jnp.asarray(1)), "exponents=[-0.5, -2]"),
        (jd.ImplicitDerivative({"w": jnp.asarray([1.5])}, *map(jnp.asarray, (1, 0, 0.0)), jnp.asarray([4.0])), "'w': [1.5]"),
        (jd.Polished({"w": jnp.zeros((4, 5))}, *map(jnp.asarray, (1e-9, 0.5, 2.0, 7, 21, True))), "gradient_norm=1e-09"),
        (jd.Polished({"w": jnp.zeros((4, 5))}, *map(jnp.asarray, (1e-9, 0.5, 2.0, 7, 21, True))), "f64[4,5] from 0 to 0"),
        (jd.measure.max_margin(np.eye(2)), "direction=[0.707107, 0.707107]"),
    ],
)
def test_numbers_are_printed(thing, words):
    assert words in repr(thing)
    assert "float64" not in repr(thing)
    html = thing._repr_html_()
    assert html.startswith(("<div>", "<code>")) and "<script" not in html


def test_tracers_are_printed_as_shapes():
    assert inside_vmap(jd.GradientNormBelow) == "GradientNormBelow(threshold=f64[])"
    assert "init_scale=f64[]" in inside_vmap(lambda x: jd.models.TwoLayer(width=2, init_scale=x))
    assert "weight_decay=f64[]" in inside_vmap(lambda x: jd.flows.GradientFlow(SMALL, jd.losses.square, DATA, weight_decay=x))


def test_odd_leaves_do_not_break_it():
    gone = jnp.ones(3)
    gone.delete()
    odd = {"key": jr.key(0), "gone": gone, "half": jnp.asarray(0.5, jnp.bfloat16), "complex": jnp.asarray(1 + 2j), "none": None}
    text = text_of(odd | {"nan": jnp.full((3, 3), jnp.nan), "empty": jnp.zeros((0, 2)), "f": test_odd_leaves_do_not_break_it})
    for words in ("'half': 0.5", "'complex': 1+2j", "key<fry>[]", "'gone': f64[3]", "f64[3,3] all nan", "'empty': f64[0,2]"):
        assert words in text


def test_html_of_a_flow_and_a_solution_are_tables_of_escaped_text(solved):
    flow, sol = solved
    assert "<td style" in sol._repr_html_() and "25 -&gt;" in sol._repr_html_()
    assert "rate" in flow._repr_html_() and "0.25" in flow._repr_html_()
    lost = jd.flows.GradientFlow(lambda p, x: p * x[:, 0], jd.losses.square, DATA)
    assert "&lt;function" in lost._repr_html_() and "<function" not in lost._repr_html_()


def test_outcome_counts_are_a_dictionary_and_a_table():
    counts = jd.outcome_counts(xr.Dataset({"outcome": ("seed", [1, 1, 4])}))
    assert counts == {"t1_reached": 2, "diverged": 1} and isinstance(counts, dict)
    assert "of 3 lanes" in counts._repr_html_() and ">diverged</th>" in counts._repr_html_()
