"""Axes and groups, without solving anything."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ensemble_flows import Decay, Net, decay, net_flow

import jaxdyn as jd
from jaxdyn.ensemble.grid import Plan, follow, make_axes, make_groups, replaced
from jaxdyn.solve import Tolerances, make_settings


def groups(flow, over, t1=1.0, solver=None):
    def settle(own):
        def settled(values):
            return make_settings(jnp.dtype("float64"), values.pop("t1", t1), (), Tolerances(solver)._replace(**values))

        return settled

    return make_groups(flow, make_axes(flow, over), settle)


class Odd(eqx.Module):
    """Its constructor takes something else than its fields."""

    half: jax.Array
    table: dict

    def __init__(self, whole):
        self.half, self.table = jnp.asarray(whole / 2.0), {"deep": [jnp.zeros(2), 3]}


def test_replaced_goes_through_attributes_keys_and_indices():
    new = replaced(Odd(4.0), {"half": 3, "table.deep.0": np.ones(2), "table.deep.1": 5})
    assert float(new.half) == 3.0 and new.half.dtype == float and follow(new, "table.deep.1") == 5
    np.testing.assert_array_equal(new.table["deep"][0], np.ones(2))
    assert float(Odd(4.0).half) == 2.0


def test_replaced_checks_values_together():
    """Delta is refused without balanced, and data of other shapes one by one; together they are right."""
    model = jd.models.TwoLayer(width=4)
    with pytest.raises(ValueError, match="balanced"):
        replaced(model, {"delta": 0.5})
    assert float(replaced(model, {"delta": 0.5, "balanced": True}).delta) == 0.5
    flow = net_flow()
    assert replaced(flow, {"data.x": np.ones((3, 1)), "data.y": np.ones(3)}).data.num_samples == 3
    other = jd.data.sinusoid(n=7)
    assert float(replaced(flow, {"data": other, "data.y": 2 * np.asarray(other.y)}).data.y[1]) == 2 * float(other.y[1])


def test_one_group_for_leaves_and_one_for_each_shape():
    over = {"model.scale": [0.1, 1.0], "t1": [1.0, 2.0], "model.width": [3, 5, 3]}
    made = groups(net_flow(), over)
    assert [len(group.cells) for group in made] == [8, 4]
    assert [group.flow.model.width for group in made] == [3, 5]
    for group in made:
        scale, end = group.table
        assert scale.shape == (8,) and len(group.moving) == 2
        for k, (i, j, w) in enumerate(group.cells):
            assert (float(scale[k]), float(end[k])) == (over["model.scale"][i], over["t1"][j]) == (over["model.scale"][i], group.ends[k])
            assert over["model.width"][w] == group.flow.model.width


def test_leaves_that_do_not_differ_are_shared():
    (group,) = groups(net_flow(), {"model.scale": [0.5], "rtol": [1e-3, 1e-4], "data": [jd.data.sinusoid(n=5)]})
    assert float(group.flow.model.scale) == 0.5
    # rtol, and atol which follows it
    np.testing.assert_allclose([leaf[:2] for leaf in group.table], [[1e-3, 1e-4], [1e-5, 1e-6]], rtol=1e-15)


def test_implicit_solvers_take_the_tolerance_of_the_grid():
    """Their root finder has tolerances of its own, which follow the controller's as in `solve`."""
    over = {"rtol": [1e-3, 1e-6]}
    (group,) = groups(decay(), over, solver=dfx.Kvaerno3())
    plan = Plan(group.moving, jnp.zeros(2), True)
    for cell, rtol in enumerate(over["rtol"]):
        expected = make_settings(jnp.dtype("float64"), 1.0, (), Tolerances(dfx.Kvaerno3(), rtol=rtol))
        _, own = plan.insert(group.flow, group.settings, tuple(column[cell] for column in group.table))
        assert float(own.solver.root_finder.rtol) == rtol and float(own.solver.root_finder.atol) == float(own.controller.atol)
        assert eqx.tree_equal(own, expected)


def test_whole_data_sets_of_one_shape_share_a_compilation():
    x = np.linspace(-1, 1, 5)
    (group,) = groups(net_flow(), {"data": [jd.data.points(x, np.ones(5)), jd.data.points(x, -np.ones(5))]})
    assert [leaf.shape for leaf in group.table] == [(8, 5)], "only the targets differ"


def test_losses_and_activations_are_groups():
    made = groups(net_flow(), {"loss_function": [jd.losses.square, jd.losses.mean_square], "model.shape": ["tanh", "sin"]})
    assert len(made) == 4 and [group.cells for group in made] == [[(0, 0)], [(0, 1)], [(1, 0)], [(1, 1)]]


class Holder(eqx.Module):
    """A flow with a flow inside, and a field that has the name of a dimension."""

    rate: jax.Array
    inner: Decay
    seed: jax.Array


def test_names_of_axes_that_clash():
    holder = Holder(jnp.asarray(1.0), decay(), jnp.asarray(0.0))
    over = {"rate": [1.0, 2.0], "inner.rate": [0.5], "seed": [0.0, 1.0], "inner.power": [1]}
    assert [axis.name for axis in make_axes(holder, over)] == ["rate", "inner.rate", "flow.seed", "power"]


def test_names_of_axes():
    flow = jd.flows.GradientFlow(Net(3), jd.losses.square, jd.data.sinusoid(n=5), weight_decay=0.1)
    over = {("model.scale", "rtol"): [(1.0, 1e-3)], "model.offset": [0.0], "data.name": ["x"], "t1": [1.0]}
    assert [axis.name for axis in make_axes(flow, over)] == ["scale", "offset", "name", "t1"]
    nested = jd.flows.GradientFlow(Net(3), jd.losses.square, jd.data.sinusoid(n=5))
    assert [axis.name for axis in make_axes(nested, {"data.x": [1], "data.y": [2]})] == ["x", "y"]
    assert make_axes(decay(), None) == [] and groups(decay(), None)[0].cells == [()]
