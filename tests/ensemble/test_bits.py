"""A lane's bits are its own: neither slot nor neighbours, order, number of devices or fate of others enter them."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ensemble_flows import HOW, ONE, fates, net_flow

import jaxdyn as jd
from jaxdyn.ensemble import run as host

pytestmark = [pytest.mark.ci_slow, pytest.mark.usefixtures("optimised")]

SWEEP = sys.modules["jaxdyn.ensemble.sweep"]


def squares(flow, t, params):
    return jnp.stack([jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)])


squares.dims = ("leaf",)


def network(seeds, **how):
    return jd.sweep(net_flow(), seeds, {"model.scale": [0.5, 2.0]}, **(HOW | {"observe": {"squares": squares}} | how))


def assert_same_bits(a, b):
    a, b = a.sortby("seed"), b.sortby("seed")
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        one, two = np.ascontiguousarray(a[name]), np.ascontiguousarray(b[name])
        assert one.dtype == two.dtype and one.shape == two.shape, name
        if one.dtype.kind in "fiu":
            assert one.tobytes() == two.tobytes(), name
        else:
            assert (one == two).all(), name


@pytest.fixture(scope="module")
def reference():
    return network(24)


def test_the_order_of_the_seeds_does_not_enter(reference):
    assert_same_bits(reference, network(np.random.default_rng(0).permutation(24)))


def test_the_order_of_the_queue_does_not_enter(reference, monkeypatch):
    shuffles = []

    def shuffled(problem, seed, cell):
        shuffles.append(np.random.default_rng(len(shuffles)).permutation(len(seed)))
        return shuffles[-1]

    monkeypatch.setattr(SWEEP, "order_by_cost", shuffled)
    for _ in range(3):
        assert_same_bits(reference, network(24))
    assert len(shuffles) == 3


def test_a_lane_alone_is_a_lane_among_others(reference):
    for seed in (0, 13, 23):
        assert_same_bits(reference.sel(seed=[seed]), network([seed]))


def test_how_often_the_host_looks_in_does_not_enter(reference, monkeypatch):
    """Calls of a few iterations, and hardly more rows than slots, which are used over and over again."""
    monkeypatch.setattr(host, "SECONDS_A_CALL", 0.0)
    monkeypatch.setattr(host, "FIRST_CALL", 5)
    monkeypatch.setattr(host, "MAX_ROWS", 1)
    for seeds in range(24, 5, -1):
        assert_same_bits(reference.sel(seed=range(seeds)), network(seeds))


def test_two_devices_give_the_bits_of_one(reference, monkeypatch):
    """However few lanes there are, and however often they are dealt anew."""
    assert len(jax.devices()) == 2
    monkeypatch.setattr(host, "SECONDS_A_CALL", 0.0)
    monkeypatch.setattr(host, "FIRST_CALL", 5)
    for seeds in (24, 5, 2):
        assert_same_bits(reference.sel(seed=range(seeds)), network(seeds, devices=jax.devices()))


@pytest.mark.parametrize("together", [pytest.param(2, marks=pytest.mark.slow), 8])
def test_slots_that_step_in_parts(together, monkeypatch):
    """Slots whose lanes step apart give the lanes of `solve`, and the same bits in any order of the queue."""
    monkeypatch.setattr(host, "choose_together", lambda width, params, devices: min(together, width))
    ds = network(24, width=8)
    assert_same_bits(ds, network(np.random.default_rng(1).permutation(24), width=8))
    for seed in (0, 7, 23):
        alone = network([seed], width=4)
        for name in ("params", "squares", "loss_end"):
            np.testing.assert_allclose(ds[name].sel(seed=seed), alone[name].sel(seed=seed), rtol=1e-9, atol=1e-12)
        assert (ds["num_accepted_steps"].sel(seed=seed) == alone["num_accepted_steps"].sel(seed=seed)).all()


@pytest.mark.parametrize(
    ("width", "params", "together"), [(64, 384, 16), (64, 96, 64), (64, 10**6, 4), (8, 384, 8), (67, 384, 67), (24, 384, 12), (2, 5, 2)]
)
def test_how_many_slots_step_together(width, params, together):
    assert host.choose_together(width, params, ONE) == together


def of(ds, outcome):
    return ds.sel(seed=ds["seed"].values[ds["outcome"].values == outcome])


def test_bad_lanes_never_harm_their_neighbours():
    """Lanes start at NaN, blow up or run out of steps; the others are, bit for bit, those of a sweep without bad lanes."""
    how = {"t1": 3.0, "record": 6, "observe": {"loss": jd.measure.loss}, "width": 4, "devices": ONE, "progress": False}
    both = jd.sweep(fates(1 / 3, 1 / 3), 30, {"max_steps": [5, 10**5]}, **how)
    short, bad = both.isel(max_steps=0, drop=True), both.isel(max_steps=1, drop=True)
    counts = jd.outcome_counts(bad)
    assert counts.keys() == {"t1_reached", "diverged", "not_finite_at_start"} and sum(counts.values()) == 30
    good = of(bad, jd.Outcome.t1_reached)
    assert 5 <= good.sizes["seed"] <= 15
    clean = jd.sweep(fates(), 30, {"max_steps": [10**5, 10**6]}, **how)
    assert (clean["outcome"] == int(jd.Outcome.t1_reached)).all()
    assert_same_bits(clean.isel(max_steps=0, drop=True).sel(seed=good["seed"].values), good)

    blown = of(bad, jd.Outcome.diverged)
    # y' = y^3 ends at t* = min 1 / (2 y0^2)
    start = np.stack([np.asarray(fates(0, 1).init(jax.random.fold_in(jax.random.key(0), int(s)))["y"]) for s in blown["seed"]])
    np.testing.assert_allclose(blown["t_end"], 0.5 / (start**2).max(axis=1), rtol=1e-3)
    assert np.isfinite(blown["params"]).all()
    lost = of(bad, jd.Outcome.not_finite_at_start)
    assert (lost["t_end"] == 0).all() and np.isnan(lost["loss"]).all() and (lost["num_accepted_steps"] == 0).all()
    cropped = of(short, jd.Outcome.max_steps)
    assert cropped.sizes["seed"] > 10
    assert (cropped["num_accepted_steps"] + cropped["num_rejected_steps"] == 5).all()
    for part in (blown, cropped):
        late = part["time"].values > part["t_end"].values[:, None]
        assert np.array_equal(np.isnan(part["loss"].values), late) and late.any() and not late.all()
    same = bad.sel(seed=cropped["seed"].values)["loss"].values
    np.testing.assert_array_equal(cropped["loss"].values[~late], same[~late])
