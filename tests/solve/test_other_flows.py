"""Solutions stay with their flow: in memory, through files, and where a transformation of JAX has forgotten it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxdyn as jd


class Pull(eqx.Module):
    """y' = -rate (y - target): loss rate |y - target|^2 / 2; the solution is target + (y0 - target) exp(-rate t)."""

    rate: jax.Array
    target: jax.Array
    power: int = eqx.field(static=True, default=1)

    def vector_field(self, t, y, args=None):
        return {"y": -self.rate * (y["y"] - self.target) ** self.power}

    def loss(self, y):
        return 0.5 * jnp.sum(self.rate * (y["y"] - self.target) ** 2)

    def init(self, key):
        return {"y": jr.uniform(key, (2,))}


def pull(rate=1.0, target=0.0, power=1):
    return Pull(jnp.asarray(rate), jnp.asarray([target, 0.0]), power)


START = {"y": jnp.ones(2)}
HOW = {"record": 2, "rtol": 1e-9}


@pytest.fixture(scope="module")
def solved():
    return jd.solve(pull(), START, 1.0, **HOW)


OTHERS = {
    "rate": (pull(2.0), "flow.rate = 1.0, not 2.0"),
    "data": (pull(1.0, 3.0), "flow.target"),
    "static": (pull(power=3), "flow.power = 1, not 3"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_flow_is_refused(solved, tmp_path, kind):
    flow, named = OTHERS[kind]
    solved.save(tmp_path / "lane.npz")
    with pytest.raises(ValueError, match="was made with") as error:
        jd.load_solution(tmp_path / "lane.npz", flow)
    assert named in str(error.value) and str(error.value).endswith(".")
    with pytest.raises(ValueError, match=r"start from sol\.params with t0=sol\.t") as error:
        jd.solve(flow, solved, 2.0, **HOW)
    assert named in str(error.value)


def test_the_same_flow_made_again_continues(solved, tmp_path):
    solved.save(tmp_path / "lane.npz")
    for start in (solved, jd.load_solution(tmp_path / "lane.npz", pull())):
        rest = jd.solve(pull(), start, 2.0, **HOW)
        np.testing.assert_allclose(rest.params["y"], np.exp(-2.0), rtol=1e-7)
    stage = jd.solve(pull(2.0), solved.params, 2.0, t0=float(solved.t), **HOW)
    np.testing.assert_allclose(stage.params["y"], np.exp(-3.0), rtol=1e-7)


def test_where_the_flow_is_forgotten_the_loss_tells(tmp_path):
    sol = jax.jit(lambda start: jd.solve(pull(), start, 1.0, **HOW))(START)
    sol.save(tmp_path / "lane.npz")
    np.testing.assert_array_equal(jd.load_solution(tmp_path / "lane.npz", pull()).params["y"], sol.params["y"])
    with pytest.raises(ValueError, match="where this flow has"):
        jd.load_solution(tmp_path / "lane.npz", pull(1.0, 3.0))


def test_solutions_of_different_flows_still_stack(solved):
    other = jd.solve(pull(2.0), START, 1.0, **HOW)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), solved, other)
    np.testing.assert_allclose(both.params["y"][:, 0], np.exp([-1.0, -2.0]), rtol=1e-7)


def test_places_that_cannot_be_written(solved, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"cannot be written to .* \(No such file or directory\): name a directory that exists"):
        solved.save(tmp_path / "none" / "lane.npz")
    with pytest.raises(ValueError, match="is a directory: name a file"):
        solved.save(tmp_path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(ValueError, match="No space left on device"):
        solved.save(tmp_path / "lane.npz")
    assert not list(tmp_path.iterdir())
