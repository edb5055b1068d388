"""The lab's laws on curves that are known, its refinement, what can fail, and all of it once at a small size."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import jaxdyn as jd
from jaxdyn.labs import read_claims, read_lab_file
from jaxdyn.labs.lazy_to_rich import Settings
from jaxdyn.labs.lazy_to_rich.boundary import Line, boundary, bracket, crossing, exponent, on_line, refine
from jaxdyn.labs.lazy_to_rich.claims import finite_width, make_claims, make_table
from jaxdyn.labs.lazy_to_rich.sweeps import NETWORKS, lines, make_flow

S = Settings(seeds=6)


def known(s: Settings, network: str) -> xr.Dataset:
    """What the sweeps would give if all laws were exact, with 2 % of noise a seed."""
    cells = [(line, line.crossover * u) for line in lines(s, network) for u in s.coarse]
    rng = np.random.default_rng(0)
    noise = np.exp(0.02 * rng.standard_normal((len(cells), s.seeds)))
    u = np.asarray([alpha / line.crossover for line, alpha in cells])
    m = np.asarray([line.width for line, _ in cells])
    second = 1 / (1 + u**2)
    ntk, distance = {
        "smooth": (second + np.where(u > 50, 1 / (u * np.sqrt(m)) - second, 0), 1 / u),
        "paired": (second, second),
        "relu": (second, 1 / np.sqrt(u)),
    }[network]
    lazy = (u > 30)[:, None] * np.ones(s.seeds)
    values = {
        "ntk_change": ntk[:, None] * noise,
        "function_distance": distance[:, None] * noise,
        "linear_distance": lazy,
        "cubic_distance": 1 - lazy,
    }
    columns = {
        "width": m,
        "delta": [line.delta for line, _ in cells],
        "alpha": [alpha for _, alpha in cells],
        "u": u,
        "round": [0] * len(cells),
    }
    return xr.Dataset(
        {f"{name}_end": (("cell", "seed"), value) for name, value in values.items()}
        | {"outcome": (("cell", "seed"), np.full(noise.shape, 3))},
        coords={"seed": np.arange(s.seeds)} | {name: ("cell", column) for name, column in columns.items()},
    )


@pytest.fixture(scope="module")
def exact():
    return {network: known(S, network) for network in NETWORKS}


def judged(found):
    return {claim.id.rpartition(".")[2]: claim for claim in make_claims(S, found)}


def test_claims_hold_where_the_laws_are_exact_and_only_there(exact):
    """Two claims contradict derived ones: the 1/alpha law for ReLU, and the collapse of independent neurons deep in the lazy regime."""
    verdicts = {name: claim.verdict for name, claim in judged(exact).items()}
    contradicted = {"relu-alpha-function", "collapse-lazy"}
    assert {name for name, verdict in verdicts.items() if verdict == "does not hold"} == contradicted
    assert set(verdicts.values()) == {"holds", "does not hold"}


WRONG = {
    "smooth-alpha-ntk": ("smooth", "ntk_change", lambda ds: 1 / ds["alpha"] ** 2),
    "smooth-alpha-function": ("smooth", "function_distance", lambda ds: 1 / ds["alpha"] ** 2),
    "paired-alpha-ntk": ("paired", "ntk_change", lambda ds: 1 / ds["alpha"]),
    "paired-alpha-function": ("paired", "function_distance", lambda ds: 1 / ds["alpha"]),
    "relu-alpha-gates": ("relu", "function_distance", lambda ds: 1 / ds["alpha"]),
    "collapse-crossover": ("smooth", "ntk_change", lambda ds: 1 / ds["alpha"]),
    "lazy-fluctuation": ("smooth", "ntk_change", lambda ds: 1 / ds["u"]),
    "collapse-lazy-paired": ("paired", "ntk_change", lambda ds: 1 / ds["alpha"]),
    "boundary-smooth": ("smooth", "ntk_change", lambda ds: 30 / (ds["u"] * ds["width"] ** 0.5)),
    "boundary-paired": ("paired", "ntk_change", lambda ds: 30 / (ds["u"] * ds["width"] ** 0.5)),
    "boundary-relu": ("relu", "ntk_change", lambda ds: 30 / (ds["u"] * ds["width"] ** 0.5)),
    "boundary-imbalance": ("relu", "ntk_change", lambda ds: 0.03 / ds["alpha"]),
    "lazy-cubic": ("relu", "cubic_distance", lambda ds: 2 + 0 * ds["u"]),
    "rich-linear": ("relu", "linear_distance", lambda ds: 2 + 0 * ds["u"]),
}


@pytest.mark.parametrize("claim", WRONG)
def test_claims_fail_on_wrong_numbers(exact, claim):
    network, name, law = WRONG[claim]
    wrong = law(exact[network]) * xr.ones_like(exact[network][f"{name}_end"])
    found = judged({**exact, network: exact[network].assign({f"{name}_end": wrong.transpose("cell", "seed")})})
    assert found[claim].verdict == "does not hold", found[claim]


def test_what_was_not_found_is_not_tested(exact):
    flat = exact["relu"].assign({"ntk_change_end": 0 * exact["relu"]["ntk_change_end"]})
    found = judged({**exact, "relu": flat})
    assert found["boundary-relu"].verdict == found["boundary-imbalance"].verdict == "not tested"


def test_tables_have_a_row_a_line(exact):
    rows = make_table(S, exact, [])
    assert len(rows) == sum(len(lines(S, network)) for network in NETWORKS)
    expected = np.sqrt(1 / S.level - 1)  # of 1 / (1 + u^2)
    paired = [row["alpha* sqrt(m)"] for row in rows if row["network"] == "paired"]
    np.testing.assert_allclose(paired, expected, rtol=0.15)  # the interpolation of a coarse grid


@given(st.floats(0.05, 0.9), st.floats(-3.0, -0.3))
def test_crossing_of_a_power_law_is_exact(level, slope):
    alpha = np.geomspace(0.01, 1e6, 30)
    assert crossing(alpha, alpha**slope, level) == pytest.approx(level ** (1 / slope), rel=1e-10)


def test_bracket_is_the_laziest_fall_through_the_level():
    alpha, curve = np.arange(1.0, 6.0), np.asarray([0.1, 0.9, 0.2, 0.8, 0.1])
    assert bracket(alpha, curve, 0.5) == 3
    assert bracket(alpha, curve, 2.0) is None and bracket(alpha, curve, 0.05) is None
    assert bracket(alpha, np.asarray([0.9, np.nan, 0.1, 0.1, 0.1]), 0.5) == 1  # what is not known counts as rich
    assert np.isnan(crossing(alpha, curve, 2.0))


def test_rounds_close_in_on_the_boundary():
    """Each round of p points makes the bracket p + 1 times narrower; the crossing of 1 / (1 + u^2) at 0.3 is found to its square."""
    s = Settings(seeds=2, level=0.3)
    line, wanted = Line(32, 0.0), np.sqrt(1 / 0.3 - 1)
    alphas, widths = [line.crossover * u for u in s.coarse], []
    for _ in range(4):
        ds = _curve(line, sorted(alphas))
        value, drawn = boundary(ds, line, s.level)
        widths.append(abs(np.log(value / line.crossover / wanted)))
        assert np.ptp(drawn) < 1e-12  # seeds that agree have no spread
        new = refine(ds, line, s.level, s.points)
        assert len(new) == s.points and max(new) / min(new) < s.coarse[1] / s.coarse[0]
        alphas += new
    assert widths[-1] < 1e-4 and widths[0] > 100 * widths[-1]


def _curve(line: Line, alphas: list[float]) -> xr.Dataset:
    u = np.asarray(alphas) / line.crossover
    columns = {"width": [line.width] * len(u), "delta": [line.delta] * len(u), "alpha": alphas}
    values = np.repeat((1 / (1 + u**2))[:, None], 2, axis=1)
    return xr.Dataset({"ntk_change_end": (("cell", "seed"), values)}, coords={name: ("cell", column) for name, column in columns.items()})


def test_exponent_and_its_error_are_those_of_the_bootstraps():
    rng = np.random.default_rng(1)
    x = np.asarray([32.0, 128.0, 512.0])
    found = [(v**-0.5, v**-0.5 * np.exp(0.1 * rng.standard_normal(20000))) for v in x]
    slope, error = exponent(x, found)
    assert slope == pytest.approx(-0.5, abs=1e-12)
    assert error == pytest.approx(0.1 / (np.sqrt(2) * np.log(4)), rel=0.03)  # least squares through three points


def test_finite_width_allowance():
    """The slope that a factor 1 + 1/sqrt(32) at the smaller of two widths alone makes."""
    assert finite_width((32, 512)) == pytest.approx(np.log(1 + 1 / np.sqrt(32)) / np.log(16))


@pytest.mark.ci_slow
def test_relu_init_scale_is_the_output_multiplier():
    """Homogeneity: sqrt(alpha) on all weights makes the functions of alpha on the output, alpha times faster in time."""
    alpha, s = 0.25, Settings()
    flow = make_flow(s, "relu")
    inner = dict(width=8, balanced=True, knots=(-1.2, 1.2))
    scaled = jd.models.Centred(jd.models.TwoLayer(**inner, init_scale=alpha**0.5, delta=-3 * alpha))
    multiplied = jd.models.Centred(jd.models.TwoLayer(**inner, delta=-3.0), output_multiplier=alpha)
    ends = []
    for model, t1 in ((scaled, 2.0 / alpha), (multiplied, 2.0 / alpha**2)):
        one = jd.flows.GradientFlow(model, flow.loss_function, flow.data)
        sol = jd.solve(one, one.init(jax.random.key(3)), t1=t1, rtol=1e-6, record=2, observe={"f": jd.measure.outputs}, locate_kinks=False)
        ends.append(sol.observed["f"][-1])
    assert np.linalg.norm(ends[0]) > 0.5
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-4)


def test_lines_start_at_their_own_imbalance():
    """The conserved quantity is delta times the squared init scale."""
    for line in lines(S, "relu"):
        alpha = 0.3
        model = jd.models.TwoLayer(width=line.width, balanced=True, knots=(-1.2, 1.2), init_scale=alpha**0.5, delta=line.delta * alpha)
        np.testing.assert_allclose(model.conserved(model.init(jax.random.key(0))), line.delta * alpha, atol=1e-10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 1}, "seeds=1"),
        ({"widths": (8,)}, "2 or more even integers"),
        ({"widths": (8, 15, 32)}, "even"),
        ({"coarse": (3.0, 1.0, 10.0)}, "rising"),
        ({"deltas": (-30.0, -10.0, 3.0)}, "0 among them"),
        ({"level": 0.0}, "level=0.0 must be a number above 0"),
        ({"points": 0}, "points=0"),
        ({"colour": 1}, "its settings are"),
    ],
)
def test_bad_settings_are_one_sentence(changes, words):
    with pytest.raises(ValueError, match=words) as error:
        jd.labs.lazy_to_rich.run(**changes)
    assert "\n" not in str(error.value)


SMALL = Settings(seeds=2, widths=(4, 8), deltas=(-30.0, -10.0, 0.0), coarse=(1.0, 30.0, 1000.0), rounds=1, points=3, rtol=1e-3)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("lab") / "run"
    return out, jd.labs.lazy_to_rich.run(SMALL, out=out, width=2, progress=False)


@pytest.mark.slow
def test_writes_one_store_one_figure_and_the_claims(done):
    out, result = done
    assert sorted(path.name for path in out.iterdir()) == ["claims.json", "figure.png", "figure.svg", "lab.json", "run.zarr"]
    assert (out / "figure.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert repr(read_claims(out)) == repr(result.claims)  # one width of ReLU networks has no exponent: NaN, not tested
    assert json.loads((out / "claims.json").read_text())[0]["measured"] == result.claims[0].measured
    assert read_lab_file(out)["finished"] and read_lab_file(out)["table"] == result.table


@pytest.mark.slow
def test_laws_show_at_four_neurons_and_two_seeds(done):
    """The smooth law needs no width: -1 within a fifth from alpha sqrt(m) = 1 on; the second round lies inside the first one's bracket."""
    _, result = done
    found = {claim.id.rpartition(".")[2]: claim.measured for claim in result.claims}
    ds = result.datasets["paired"]
    for line in lines(SMALL, "paired"):
        cells = on_line(ds, line)
        assert np.all(np.diff(cells["alpha"].values) > 0)
        assert set(np.diff(np.flatnonzero(cells["round"].values == 1))) <= {1}
    assert found["smooth-alpha-ntk"] == pytest.approx(-1, abs=0.2)


@pytest.mark.slow
def test_a_second_run_reads_and_computes_nothing(done, monkeypatch):
    out, result = done
    monkeypatch.setattr("jaxdyn.ensemble.run.advance", lambda *_: pytest.fail("a lane was run again"))
    again = jd.labs.lazy_to_rich.run(SMALL, out=out, progress=False)
    for name, ds in result.datasets.items():
        assert again.datasets[name].identical(ds), name
    assert repr(again.claims) == repr(result.claims)


@pytest.mark.slow
def test_other_settings_are_refused(done):
    out, _ = done
    with pytest.raises(ValueError, match=r"level = 0.3, not 0.5"):
        jd.labs.lazy_to_rich.run(dataclasses.replace(SMALL, level=0.5), out=out, progress=False)
    assert read_lab_file(out)["finished"]


@pytest.mark.ci_slow
def test_it_runs_from_end_to_end_at_its_smallest_settings(end_to_end):
    end_to_end("lazy-to-rich")
