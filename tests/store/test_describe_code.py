"""Descriptions follow calls: whatever a function can reach through names changes its description, and nothing else does."""

import functools
import importlib
import json
import subprocess
import sys
import textwrap
import threading
import time

import equinox as eqx
import jax
import numpy as np
import pytest

from jaxdyn.store import describe, first_difference

MAIN = """
    import dataclasses, enum, functools
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np
    import helpers
    from helpers import scale, Base, TABLE, doubled, STEP, Point, Mode, level
    from helpers import ruled as checked

    def direct(flow, t, params):
        return scale(params)

    def by_module(flow, t, params):
        return helpers.inner.scale(params)

    def container(flow, t, params):
        return params * TABLE["rates"][1]

    def in_comprehension(flow, t, params):
        return [scale(p) for p in params]

    def in_lambda(flow, t, params):
        return jax.tree.map(lambda p: scale(p), params)

    def in_class_inside(flow, t, params):
        class Inside:
            def value(self):
                return scale(params)
        return Inside().value()

    def local_import(flow, t, params):
        import helpers as h
        return h.scale(params)

    def local_import_from(flow, t, params):
        from helpers import scale as s
        return s(params)

    def by_getattr(flow, t, params):
        return getattr(helpers, "sca" + "le")(params)

    def with_default(flow, t, params, how=scale):
        return how(params)

    def with_keyword(flow, t, params, *, how=scale):
        return how(params)

    def enclosed(how):
        def observable(flow, t, params):
            return how(params)
        return observable

    closed = enclosed(scale)
    part = functools.partial(direct, None)
    bare = lambda flow, t, params: scale(params)
    jitted = jax.jit(direct)
    filtered = eqx.filter_jit(direct)
    mapped = jax.vmap(direct)
    derived = jax.grad(direct)
    cached = functools.lru_cache(direct)
    vectorised = np.vectorize(direct)

    @doubled
    def decorated(flow, t, params):
        return params

    @jax.custom_jvp
    def ruled(params):
        return params

    @ruled.defjvp
    def rule(primals, tangents):
        return primals[0], scale(tangents[0])

    class Flow(Base):
        rate: float = 1.0

        def vector_field(self, t, y, args=None):
            return -self.rate * self.slope(y) * STEP.size

        @property
        def strength(self):
            return scale(2.0)

        @staticmethod
        def shape():
            return scale(3.0)

        @classmethod
        def make(cls):
            return cls(scale(1.0))

    class Called:
        def __init__(self):
            self.by = 1.0
        def __call__(self, flow, t, params):
            return scale(params)

    flow, called, method = Flow(), Called(), Called().__call__
    field = dataclasses.make_dataclass("Made", [("rule", object)])(scale)

    def mutual_a(n):
        return mutual_b(n)

    def mutual_b(n):
        return mutual_a(scale(n))

    def uses_named_tuple(flow, t, params):
        return Point(1, 2).total()

    def uses_enum(flow, t, params):
        return Mode.fast.value

    def of_attribute(flow, t, params):
        return direct.by if hasattr(direct, "by") else helpers.level

    def with_try(flow, t, params):
        try:
            return checked(params)
        except ValueError:
            return scale(params)

    def main(flow, t, params):
        return [f(flow, t, params) for f in (direct, container)]
"""
HELPERS = """
    import enum, typing
    import equinox as eqx
    import numpy as np
    from packaged import inner_scale
    from inner import factor
    import inner

    level = 1
    TABLE = {"rates": [1.0, 2.0], "more": (inner.scale,)}

    def scale(x):
        "Text."
        return x * factor(2.0)

    def doubled(f):
        def wrapper(flow, t, params):
            return 2 * f(flow, t, params)
        return wrapper

    def ruled(x):
        return x

    class Root(eqx.Module):
        def slope(self, y):
            return y

    class Base(Root):
        pass

    class Step:
        size = 1

    STEP = Step()

    class Point(typing.NamedTuple):
        a: int
        b: int
        def total(self):
            return self.a + self.b

    class Mode(enum.Enum):
        fast = 1
"""
INNER = """
    def factor(x):
        return x

    def scale(x):
        return x
"""
WATCHED = [
    "direct",
    "in_comprehension",
    "in_lambda",
    "in_class_inside",
    "local_import",
    "local_import_from",
    "by_getattr",
    "with_default",
    "with_keyword",
    "closed",
    "part",
    "bare",
    "jitted",
    "filtered",
    "mapped",
    "derived",
    "cached",
    "vectorised",
    "ruled",
    "flow",
    "called",
    "method",
    "field",
    "mutual_a",
    "with_try",
    "main",
    "by_module",
]


def write(folder, **changed):
    """The user's modules, with replacements in their text."""
    folder.mkdir(exist_ok=True)
    for name, text in {"user": MAIN, "helpers": HELPERS, "inner": INNER}.items():
        text = textwrap.dedent(text)
        for old, new in changed.get(name, {}).items():
            assert old in text
            text = text.replace(old, new)
        (folder / f"{name}.py").write_text(text)
    site = folder / "site-packages"
    site.mkdir(exist_ok=True)
    (site / "packaged.py").write_text("def inner_scale(x):\n    return x\n" + changed.get("packaged", ""))
    info = site / "packaged-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: packaged\nVersion: {changed.get('version', '1.0')}\n")
    return folder


MODULES = ("user", "helpers", "inner", "packaged")


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Describes things of the user's modules, as another process would find them after a change."""
    count = [0]

    def describe_all(**changed):
        count[0] += 1
        folder = write(tmp_path / str(count[0]), **changed)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "dont_write_bytecode", True)
            patch.syspath_prepend(str(folder / "site-packages"))
            patch.syspath_prepend(str(folder))
            from jaxdyn._describe import origin

            origin.with_version.cache_clear()
            for name in MODULES:
                sys.modules.pop(name, None)
            importlib.invalidate_caches()
            module = importlib.import_module("user")
            found = {name: json.loads(json.dumps(describe(thing))) for name, thing in vars(module).items() if not name.startswith("__")}
            for name in MODULES:
                sys.modules.pop(name, None)
            return found

    return describe_all


def changed_names(one, two):
    return {name for name in one if first_difference(one[name], two[name]) is not None}


def test_a_helper_two_calls_away_counts_however_it_is_reached(described):
    before = described()
    assert changed_names(before, described()) == set()
    after = described(inner={"def factor(x):\n    return x": "def factor(x):\n    return 2 * x"})
    missed = set(WATCHED) - changed_names(before, after) - {"by_module"}
    assert not missed
    assert first_difference(before["direct"], after["direct"])[0] == "uses.factor.code"
    assert "by_module" not in changed_names(before, after), "it calls another function of that module"


CHANGES = {
    "module by attribute": ({"inner": {"def scale(x):\n    return x": "def scale(x):\n    return 3 * x"}}, "by_module"),
    "dictionary": ({"helpers": {"[1.0, 2.0]": "[1.0, 2.5]"}}, "container"),
    "function in a container": ({"inner": {"def scale(x):\n    return x": "def scale(x):\n    return 3 * x"}}, "container"),
    "method of the base of a base": ({"helpers": {"        return y\n": "        return 2 * y\n"}}, "flow"),
    "method": ({"user": {"-self.rate * self": "+self.rate * self"}}, "flow"),
    "property": ({"user": {"scale(2.0)": "scale(2.5)"}}, "flow"),
    "static method": ({"user": {"scale(3.0)": "scale(3.5)"}}, "flow"),
    "class method": ({"user": {"cls(scale(1.0))": "cls(scale(1.5))"}}, "flow"),
    "default of a field": ({"user": {"rate: float = 1.0": "rate: float = 2.0"}}, "flow"),
    "class attribute of a module's instance": ({"helpers": {"size = 1": "size = 2"}}, "flow"),
    "decorator": ({"helpers": {"2 * f(flow": "3 * f(flow"}}, "decorated"),
    "rule of a derivative": ({"user": {"scale(tangents[0])": "2 * scale(tangents[0])"}}, "ruled"),
    "attribute of a callable": ({"user": {"self.by = 1.0": "self.by = 2.0"}}, "called"),
    "method of a named tuple": ({"helpers": {"self.a + self.b": "self.a - self.b"}}, "uses_named_tuple"),
    "value of an enumeration": ({"helpers": {"fast = 1": "fast = 2"}}, "uses_enum"),
    "number by attribute": ({"helpers": {"level = 1": "level = 2"}}, "of_attribute"),
    "what is tried": (
        {"user": {"    try:\n        return checked(params)\n": "    y = checked(params)\n    try:\n        return y\n"}},
        "with_try",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_every_way_to_reach_code_counts(described, kind):
    changed, name = CHANGES[kind]
    names = changed_names(described(), described(**changed))
    assert name in names and "bare" not in names


def test_what_does_not_matter_changes_nothing(described):
    before = described()
    layout = {
        "user": {
            "    def vector_field(self": "    # remark\n\n    def vector_field(self",
            "return scale(params)": "return scale(\n        params\n    )",
        },
        "helpers": {'"Text."': '"Other text."', "class Step:": 'class Step:\n    "Text."', "def scale(x):": "\n\ndef scale(x):"},
    }
    assert changed_names(before, described(**layout)) == set()
    renamed = {"helpers": {"def ruled(x):\n    return x": "def ruled(x):\n    z = x\n    return z"}}
    again = {"helpers": {"def ruled(x):\n    return x": "def ruled(x):\n    w = x\n    return w"}}
    assert changed_names(described(**renamed), described(**again)) == set()


def test_installed_packages_count_by_name_and_version(described):
    use = {"helpers": {"x * factor(2.0)": "inner_scale(x)"}}
    before = described(**use)
    assert changed_names(before, described(**use, packaged="# another text\ny = 1\n")) == set()
    after = described(**use, version="2.0")
    assert first_difference(before["direct"], after["direct"])[1:] == (
        "packaged.inner_scale of packaged 1.0",
        "packaged.inner_scale of packaged 2.0",
    )


PROGRAM = """
import sys, json
sys.path[:0] = [{folder!r}, {folder!r} + "/site-packages"]
{first}
from jaxdyn.store import describe
names = {names!r}
print(json.dumps({{name: describe(globals().get(name) or getattr(sys.modules.get("user"), name)) for name in names}}))
"""


@pytest.mark.ci_slow
def test_a_script_and_a_module_agree_whatever_the_hash_seed(tmp_path):
    folder = write(tmp_path / "code")
    names = [*WATCHED, "container", "decorated", "uses_named_tuple", "uses_enum"]
    said = []
    for seed, first in (("1", "import user"), ("2", (folder / "user.py").read_text())):
        script = tmp_path / f"script_{seed}.py"
        script.write_text(PROGRAM.format(folder=str(folder), first=first, names=names))
        done = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            check=True,
            env={**__import__("os").environ, "PYTHONHASHSEED": seed},
        )
        said.append(json.loads(done.stdout))
    assert {name: first_difference(said[0][name], said[1][name]) for name in names} == dict.fromkeys(names)
    assert "0x" not in json.dumps(said)


def evaluated(flow, t, params):
    return eval("params")


def test_what_cannot_be_seen_is_said():
    assert describe(evaluated)["not seen"] == ["eval"]
    space = {}
    exec("def f(x):\n    return later(x)", space)
    assert describe(space["f"])["not seen"] == ["later"]
    assert describe(threading.Lock())["not seen"] == "its state"
    assert describe(np.sin) == {"function": "numpy.sin of numpy"}


def test_recursion_ends_and_large_containers_are_hashed():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert list(describe(even)["uses"]) == [odd.__qualname__]
    space = {"TABLE": [float(k) for k in range(10**5)]}
    exec("def f(x):\n    return TABLE[x]", space)
    before = describe(space["f"])
    assert len(json.dumps(before)) < 500
    space["TABLE"][777] += 1e-9
    assert first_difference(before, describe(space["f"]))[0] == "globals.TABLE"
    deep = []
    for _ in range(10**5):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        describe(deep)


class Wide(eqx.Module):
    """Fifty methods, which call each other."""

    rate: jax.Array

    for _k in range(50):
        exec(f"def m{_k}(self, x):\n    return [jax.numpy.sin(x) * self.m{(_k + 1) % 50}(x) for x in range({_k})]")
    del _k


def test_it_is_fast():
    flow = Wide(jax.numpy.zeros((1000, 1000)))
    describe([functools.partial(describe, k) for k in range(3)])
    from jaxdyn._describe import code

    code.code_digest.cache_clear()
    code.names_of.cache_clear()
    begun = time.process_time()
    describe(flow)
    assert time.process_time() - begun < 0.2
