"""What code reaches through decorators of packages, and what containers and numbers of a user's own carry, counts."""

import importlib
import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdyn.store import describe, first_difference

IMPORTS = """
import collections, contextlib, dataclasses, functools
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import jaxtyped
"""
DECORATORS = {
    "jax.vmap": "h(p[None])[0]",
    "functools.partial(jax.vmap, in_axes=0)": "h(p[None])[0]",
    "jnp.vectorize": "h(p)",
    "functools.partial(jnp.vectorize, signature='()->()')": "h(p)",
    "jax.checkpoint": "h(p)",
    "jax.grad": "h(p)",
    "jax.value_and_grad": "h(p)[0]",
    "jax.jacfwd": "h(p)",
    "jax.hessian": "h(p)",
    "jax.named_call": "h(p)",
    "jax.default_matmul_precision('highest')": "h(p)",
    "jax.jit": "h(p)",
    "eqx.filter_vmap": "h(p[None])[0]",
    "eqx.filter_checkpoint": "h(p)",
    "functools.singledispatch": "h(p)",
    "functools.cache": "h(3.0)",
    "contextlib.contextmanager": "h(p).__enter__()",
    "jaxtyped(typechecker=None)": "h(p)",
}
"""How each is called."""
READ = "def f(p): return p * {}\n"
REST = {  # (module, what it is now, what it becomes)
    "a registered function": (
        "@functools.singledispatch\ndef h(z): return z\n@h.register\ndef _(z: jax.Array): return z * @@\n" + READ.format("h(p)"),
        "2.",
        "3.",
    ),
    "apply itself": ("@functools.partial(jax.vmap, in_axes=0)\ndef f(p): return p * @@\n", "2.", "3."),
    "the order of a dict": (
        "T = {@@}\ndef f(p):\n  for g in T.values(): p = g(p)\n  return p\n",
        "'a': jnp.tanh, 'b': jnp.exp",
        "'b': jnp.exp, 'a': jnp.tanh",
    ),
    "a mask or indices": ("C = np.array([@@])\n" + READ.format("np.array([2., 3.])[C].sum()"), "True, False", "1, 0"),
    "a truth value or a number": ("C = @@\n" + READ.format("np.array([2., 3.])[C].sum()"), "True", "1"),
    "an integer or a float": ("C = @@\n" + READ.format("isinstance(C, int)"), "1", "1."),
    "a kind of integers": ("C = np.array([100], @@)\n" + READ.format("(C * C.dtype.type(2))"), "np.int8", "np.int64"),
    "a kind of numbers": ("C = np.array([@@])\n" + READ.format("(C.dtype.kind == 'i')"), "1", "1."),
    "a float of a class of one's own": ("class S(float): pass\nC = S(@@)\n" + READ.format("C"), "2.", "3."),
    "an integer of a class of one's own": ("class S(int): pass\nC = S(@@)\n" + READ.format("C"), "2", "3"),
    "a text of a class of one's own": ("class S(str): pass\nC = S('@@')\n" + READ.format("len(C)"), "a", "ab"),
    "bytes of a class of one's own": ("class S(bytes): pass\nC = S(b'@@')\n" + READ.format("len(C)"), "a", "ab"),
    "a deque of a class of one's own": ("class S(collections.deque): pass\nC = S([@@])\n" + READ.format("C[0]"), "2.", "3."),
    "an attribute of a dict": ("class S(dict): pass\nC = S()\nC.k = @@\n" + READ.format("C.k"), "2.", "3."),
    "an attribute of a list": ("class S(list): pass\nC = S()\nC.k = @@\n" + READ.format("C.k"), "2.", "3."),
    "an attribute of a tuple": ("class S(tuple): pass\nC = S()\nC.k = @@\n" + READ.format("C.k"), "2.", "3."),
    "an attribute of a set": ("class S(set): pass\nC = S()\nC.k = @@\n" + READ.format("C.k"), "2.", "3."),
    "an attribute of a float": ("class S(float): pass\nC = S()\nC.k = @@\n" + READ.format("C.k"), "2.", "3."),
    "an attribute of an array": ("class S(np.ndarray): pass\nC = np.zeros(2).view(S)\nC.k = @@\n" + READ.format("C.k"), "2.", "3."),
    "an attribute of a dataclass": (
        "@dataclasses.dataclass\nclass S:\n  a: float = 1.\nC = S()\nC.k = @@\n" + READ.format("C.k"),
        "2.",
        "3.",
    ),
    "what a defaultdict makes": ("C = collections.defaultdict(lambda: @@)\n" + READ.format("C.default_factory()"), "2.", "3."),
    "the name of a keyword": ("def h(z, **how): return z * (2. if 'gain' in how else 3.)\n" + READ.format("h(p, @@=0.5)"), "gain", "leak"),
    "the names of keywords in the other order": (
        "def h(z, **how): return z * list(how.values())[0]\n" + READ.format("h(p, @@)"),
        "gain=0.5, leak=0.5",
        "leak=0.5, gain=0.5",
    ),
    "a private slot": (
        "class S:\n  __slots__ = ('__k',)\n  def __init__(self): self.__k = @@\n  def k(self): return self.__k\nC = S()\n"
        + READ.format("C.k()"),
        "2.",
        "3.",
    ),
    "a private slot of a base class": (
        "class _B:\n  __slots__ = '__k'\n  def __init__(self): self.__k = @@\nclass S(_B): __slots__ = ()\nC = S()\n"
        + READ.format("C._B__k"),
        "2.",
        "3.",
    ),
    "a function of numpy.frompyfunc": ("C = np.frompyfunc(lambda z: z * @@, 1, 1)\n" + READ.format("float(C(2.))"), "2.", "3."),
    "a function of numpy.vectorize": ("C = np.vectorize(lambda z: z * @@, otypes=[float])\n" + READ.format("C(2.)"), "2.", "3."),
    "the mask of an array": ("C = np.ma.array([1., 2.], mask=[@@])\n" + READ.format("C.sum()"), "True, False", "False, True"),
    "what is filled in": ("C = np.ma.array([1., 2.], mask=[1, 0], fill_value=@@)\n" + READ.format("C.filled().sum()"), "2.", "3."),
    "a name with four underscores": ("__version__ = @@\n" + READ.format("__version__"), "2.", "3."),
    "a traced program": (
        "from jax.extend.core import jaxpr_as_fun\nC = jax.make_jaxpr(lambda z: jax.nn.relu(z * @@))(1.)\n"
        + READ.format("jaxpr_as_fun(C)(p)[0]"),
        "2.",
        "3.",
    ),
    "a constant of a traced program": (
        "from jax.extend.core import jaxpr_as_fun\nK = np.full(9, @@)\nC = jax.make_jaxpr(lambda z: jnp.sum(z * K))(1.)\n"
        + READ.format("jaxpr_as_fun(C)(p)[0]"),
        "2.",
        "3.",
    ),
    "an exported program": (
        "import jax.export\nC = jax.export.export(jax.jit(lambda z: z * @@))(jax.ShapeDtypeStruct((), float))\n" + READ.format("C.call(p)"),
        "2.",
        "3.",
    ),
    "a constant of an exported program": (
        "import jax.export\nK = np.full(99, @@)\n"
        "C = jax.export.export(jax.jit(lambda z: jnp.sum(z * K)))(jax.ShapeDtypeStruct((), float))\n" + READ.format("C.call(p)"),
        "2.",
        "3.",
    ),
    "a generator": ("def g():\n  while True: yield @@\nC = g()\n" + READ.format("next(C)"), "2.", "3."),
}
CASES = REST | {
    f"@{name}": (
        f"@{name}\ndef h(z): {'yield' if 'context' in name else 'return'} jnp.sum(z * @@)\n" + f"def f(p): return {call}\n",
        "2.",
        "3.",
    )
    for name, call in DECORATORS.items()
}


@pytest.fixture
def described(tmp_path, monkeypatch):
    """The description of `f` of a module with this source."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def found(source):
        (tmp_path / "module_of_a_user.py").write_text(IMPORTS + source)
        sys.modules.pop("module_of_a_user", None)
        importlib.invalidate_caches()
        return importlib.import_module("module_of_a_user").f

    yield found
    sys.modules.pop("module_of_a_user", None)


@pytest.mark.parametrize("name", CASES)
def test_a_changed_value_is_another_description(described, name):
    source, now, then = CASES[name]
    found = []
    for value in (now, now, then):
        f = described(source.replace("@@", value))
        before = describe(f)
        f(jnp.asarray([-0.7] if name == "apply itself" else -0.7))  # what a call keeps does not count
        assert first_difference(before, describe(f)) is None
        found.append((before, json.dumps(before, sort_keys=True)))
    assert first_difference(found[0][0], found[1][0]) is None and found[0][1] == found[1][1]
    assert first_difference(found[0][0], found[2][0]) is not None and found[0][1] != found[2][1]


@pytest.mark.parametrize("read", ["os.environ['SCALE']", "os.getenv('SCALE')", "sys.modules['helpers'].scale", "len(sys.argv)"])
def test_what_comes_from_outside_is_said_to_be_not_seen(described, read):
    assert "not seen" in json.dumps(describe(described("import os, sys\n" + READ.format(read))))


@pytest.mark.ci_slow
def test_two_processes_agree_on_what_decorators_hold(tmp_path):
    (tmp_path / "module_of_a_user.py").write_text(
        IMPORTS
        + "".join(
            CASES[f"@{name}"][0]
            .replace("@@", "2.")
            .replace("def f(", f"def f{k}(")
            .replace("def h(", f"def h{k}(")
            .replace(" h(", f" h{k}(")
            for k, name in enumerate(DECORATORS)
        )
    )
    script = f"""
import json, module_of_a_user as m
from jaxdyn.store import describe
print(json.dumps([describe(getattr(m, f"f{{k}}")) for k in range({len(DECORATORS)})], sort_keys=True))
"""
    texts = [
        subprocess.run([sys.executable, "-B", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, env=None).stdout
        for _ in range(2)
    ]
    assert texts[0] == texts[1] and len(texts[0]) > 1000


def test_settings_are_compared_as_numbers():
    """But not what code reads: 1 and 1.0, a list and its array, and any order are the same settings."""
    one = {"b": 1, "a": np.asarray([1.0, 2.0])}
    two = {"a": [1, 2], "b": 1.0}
    assert first_difference(describe(one), describe(two)) is None
