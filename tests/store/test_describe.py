"""Settings as JSON: equal for equal settings in any process, different for different ones."""

import enum
import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from store_runs import Stiff

import jaxdyn as jd
from jaxdyn.store import describe, first_difference

PROGRAM = """
import jax
jax.config.update("jax_enable_x64", True)
import json, sys
sys.path.insert(0, sys.argv[1])
from test_describe import settings
print(json.dumps(settings()))
"""
FACTOR = 2.0


class Colour(enum.Enum):
    red = 1


class Plain:
    """A callable that is no module."""

    def __init__(self, level):
        self.level = level

    def __call__(self, flow, t, params):
        return params[0] > self.level


def settings():
    flow = jd.flows.GradientFlow(jd.models.TwoLayer(width=3), jd.losses.logistic, jd.data.square_wave(n=30, periods=5))
    return describe({
        "flow": flow,
        "rules": [jd.LossBelow(1e-6), jd.StopWhen(lambda flow, t, y: str(t) in {"a", "b", "c", "d"}), Plain(3)],
        "set": {"x", "y", "z"},
        "jitted": jax.jit(lambda x: x + 1),
        "partial": functools.partial(jnp.sum, axis=0),
        "held out": jd.measure.HeldOutLoss(jd.data.sinusoid(n=4)),
        "key": jax.random.key(3),
        "ufunc": np.sin,
        "colour": Colour.red,
        "global": lambda x: FACTOR * x,
    })


@pytest.mark.ci_slow
def test_two_processes_agree():
    """The other one hashes strings otherwise, so its sets and dictionaries are in another order."""
    environment = os.environ | {"PYTHONHASHSEED": "1" if hash("a") % 2 else "2"}
    command = [sys.executable, "-c", PROGRAM, os.path.dirname(__file__)]
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.strip()
    assert said == json.dumps(settings())
    assert "0x" not in said, "an address in memory differs from process to process"


def scaled(by):
    return lambda flow, t, y: by * y


def with_default(by):
    def function(flow, t, y, by=by):
        return y

    return function


def first(flow, t, y):
    """One text."""
    return [y for _ in range(3)]


def second(flow, t, y):
    """Another text."""
    return [y for _ in range(4)]


first.__qualname__ = second.__qualname__ = "same"

PAIRS = {
    "code": (lambda x: x + 1, lambda x: x - 1),
    "constants": (lambda x: x + 1, lambda x: x + 2),
    "names": (lambda x: jnp.sin(x), lambda x: jnp.cos(x)),
    "inner code": (first, second),
    "closures": (scaled(1.0), scaled(2.0)),
    "closures of arrays": (scaled(np.arange(9.0)), scaled(np.arange(9.0) + 1e-16 * np.eye(9)[8] * 1e2)),
    "defaults": (with_default(1), with_default(2)),
    "jitted": (jax.jit(lambda x: x + 1), jax.jit(lambda x: x + 2)),
    "partial": (functools.partial(jnp.sum, axis=0), functools.partial(jnp.sum, axis=1)),
    "leaves": (Stiff(jnp.asarray(1.0)), Stiff(jnp.asarray(1.0 + 1e-15))),
    "large arrays": (np.arange(100.0), np.arange(100.0)[::-1]),
    "plain objects": (Plain(1), Plain(2)),
    "types": (jd.LossBelow(0.1), jd.GradientNormBelow(0.1)),
    "static": (jd.models.TwoLayer(width=3), jd.models.TwoLayer(width=4)),
    "none": (None, 0),
    "bound methods": (Plain(1).__call__, Plain(2).__call__),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_what_differs_is_described_differently(kind):
    one, two = PAIRS[kind]
    assert json.dumps(describe(one)) == json.dumps(describe(one))
    assert first_difference(describe(one), describe(two)) is not None


def test_globals_that_a_function_reads_belong_to_it(monkeypatch):
    watch = [lambda x: FACTOR * x][0]
    one = describe(watch)
    monkeypatch.setitem(watch.__globals__, "FACTOR", 3.0)
    assert first_difference(one, describe(watch)) == ("globals.FACTOR", 2.0, 3.0)


def test_the_same_code_elsewhere_is_the_same_and_comments_change_nothing():
    spaces = [{}, {}]
    exec('def f(x):\n    "Text."\n    return x + 1\n', spaces[0])
    exec('\n\n# remark\ndef f(x):\n    "Other text."\n\n    return x + 1\n', spaces[1])
    assert describe(spaces[0]["f"]) == describe(spaces[1]["f"])


def test_what_holds_itself_has_an_end():
    def countdown(n):
        return 0 if n == 0 else countdown(n - 1)

    loop = []
    loop.append(loop)
    assert "itself" in json.dumps(describe(countdown)) and describe(loop) == ["itself"]


def test_first_difference_names_the_place():
    old = {"a": [1, {"b": 2.0}], "c": float("nan"), "d": [1, 2]}
    assert first_difference(old, json.loads(json.dumps(old))) is None
    assert first_difference(old, {"a": [1, {"b": 3.0}], "c": float("nan"), "d": [1, 2]}) == ("a[1].b", 2.0, 3.0)
    assert first_difference(old, {**old, "d": [1, 2, 3]}) == ("d", [1, 2], [1, 2, 3])
    assert first_difference(old, {**old, "e": 1}) == ("e", "nothing", 1)
    assert first_difference({**old, "e": 1}, old) == ("e", 1, "nothing")
