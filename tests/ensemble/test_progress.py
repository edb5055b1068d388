"""What a long computation shows, at once and while it runs; what Ctrl-C leaves behind."""

import builtins
import importlib
import sys
import traceback
import types
import warnings

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ensemble_flows import ONE

import jaxdyn as jd
from jaxdyn.ensemble import progress
from jaxdyn.ensemble.progress import Shown, progress_bar

sweeping = importlib.import_module("jaxdyn.ensemble.sweep")


class Decay(jd.flows.AbstractFlow):
    """dy/dt = -rate y for `size` numbers; each size is compiled by itself."""

    rate: jax.Array
    size: int = eqx.field(static=True)

    def vector_field(self, t, y, args=None):
        return -self.rate * y

    def loss(self, y):
        return jnp.sum(y**2)

    def init(self, key):
        return 1.0 + jr.uniform(key, (self.size,))


DECAY = Decay(jnp.asarray(1.0), 1)
HOW = {"t1": 1.0, "record": 2, "width": 4, "devices": ONE, "solver": dfx.Tsit5()}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_rate_and_time_left_leave_compilation_out(clock):
    shown = Shown("sweep", "lanes", 50, 0)
    shown.say("compiling")
    assert shown.words == "0 of 50 lanes, compiling" and shown.rate is None
    clock[0] += 500.0
    shown(10)
    clock[0] += 4.0
    shown(30)
    assert shown.rate == pytest.approx(5.0)  # 20 lanes in the 4 seconds since the program was compiled
    assert shown.words == "30 of 50 lanes, 5 lanes/s, 4 s left"
    shown.say("compiling (2 of 3 settings)")
    assert "compiling (2 of 3 settings)" in shown.words


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min")])
def test_durations(seconds, words):
    assert progress.duration(seconds) == words


def test_lines_without_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PERIOD", 0.05)
    with progress_bar("many", 4, 0, True) as shown:
        assert capsys.readouterr().err == "many: 0 of 4 lanes, starting\n"  # before anything else happens
        shown.say("compiling")
        stop = progress.time.monotonic() + 5
        seen = ""
        while seen.count("\n") < 2 and progress.time.monotonic() < stop:
            progress.time.sleep(0.01)
            seen += capsys.readouterr().err
        assert seen.splitlines()[-1] == "many: 0 of 4 lanes, compiling"
        shown(4)
    assert capsys.readouterr().err.splitlines()[-1] == "many: 4 lanes done in 0 s"


def test_one_line_a_minute_by_default(capsys):
    assert progress.PERIOD == 60.0
    with progress_bar("quick", 1, 0, True) as shown:
        shown(1)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_work_that_is_not_counted(capsys):
    with progress_bar("figure", None, 0, True) as shown:
        shown.say("drawing")
        assert shown.words == "drawing"
    assert capsys.readouterr().err.splitlines() == ["figure: starting", "figure: done in 0 s"]


def test_nothing_where_nothing_is_asked_for(capsys):
    with progress_bar("silent", 1, 0, False) as shown:
        shown.say("compiling")
        shown(1)
    assert capsys.readouterr().err == ""


def test_a_closed_stderr_does_no_harm(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar("nowhere", 1, 0, True) as shown:
        shown(1)


def test_a_terminal_has_a_bar_at_once(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar("long", 8, 0, True) as shown:
        assert "long" in capsys.readouterr().err
        shown.say("preparing 1 of 2 settings")
        progress.time.sleep(0.5)
        assert "preparing 1 of 2 settings" in capsys.readouterr().err
        shown(8)
    assert "8 of 8 lanes" in capsys.readouterr().err


class Notebook:
    """A kernel's `get_ipython` and `display`, which keep what was displayed."""

    kernel = object()

    def __init__(self):
        self.pictures = []

    def display(self, picture, display_id=False):
        assert display_id
        self.pictures.append(picture)
        return self

    def update(self, picture):
        self.pictures.append(picture)


@pytest.fixture
def notebook(monkeypatch):
    shell = Notebook()
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    module = types.ModuleType("IPython.display")
    module.display = shell.display
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shell


def test_a_notebook_has_a_bar_without_widgets(notebook, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with progress_bar("<cell>", 3, 0, True) as shown:
            assert len(notebook.pictures) == 1
            shown.say("compiling")
            shown(3)
    last = notebook.pictures[-1]
    assert 'value="3" max="3"' in last._repr_html_() and "&lt;cell&gt;" in last._repr_html_()
    assert repr(last) == "<cell>: 3 of 3 lanes"
    assert any("compiling" in repr(picture) for picture in notebook.pictures)
    assert capsys.readouterr() == ("", "")


def test_an_ipython_terminal_is_no_notebook(monkeypatch):
    monkeypatch.setattr(builtins, "get_ipython", types.SimpleNamespace, raising=False)
    assert progress.notebook_display() is None


class Heard(Shown):
    """Keeps what was said, with the lanes that were done then."""

    said: list = []

    def say(self, doing):
        self.said.append((doing, self.done))
        super().say(doing)


@pytest.mark.ci_slow
def test_groups_are_put_in_order_one_by_one(monkeypatch, notebook):
    monkeypatch.setattr(progress, "Shown", Heard)
    Heard.said = []
    ds = jd.sweep(DECAY, 6, {"size": [1, 2]}, **HOW)
    assert Heard.said[0][0] == "preparing the settings"
    said = [doing for doing, _ in Heard.said if doing != "preparing the settings"]
    assert said == [
        "preparing 1 of 2 settings",
        "preparing 2 of 2 settings",
        "ordering the lanes by cost (1 of 2 settings)",
        "compiling (1 of 2 settings)",
        "ordering the lanes by cost (2 of 2 settings)",
        "compiling (2 of 2 settings)",
    ]
    assert dict(Heard.said)["ordering the lanes by cost (2 of 2 settings)"] == 6  # the first group's lanes are done by then
    assert repr(notebook.pictures[-1]).startswith("sweep: 12 of 12 lanes")
    np.testing.assert_allclose(ds["loss_end"].sel(size=2) / ds["loss_start"].sel(size=2), np.exp(-2.0), rtol=1e-4)


@pytest.mark.ci_slow
@pytest.mark.parametrize("place", ["columns", "_new_store", "order_by_cost", "_advance", "assemble"])
def test_ctrl_c_is_one_sentence_and_leaves_a_store_that_resumes(place, tmp_path, monkeypatch):
    calls = []
    original = getattr(sweeping, place)

    def interrupted(*args, **kwargs):
        calls.append(place)
        if len(calls) == (1 if place == "assemble" else 2):
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    how = HOW | {"progress": False}
    with monkeypatch.context() as patched:
        patched.setattr(sweeping, place, interrupted)
        with pytest.raises(KeyboardInterrupt, match=r"whole blocks are kept in .*run\.zarr: the same call again resumes") as caught:
            jd.sweep(DECAY, 6, {"size": [1, 2]}, out=tmp_path / "run.zarr", **how)
    assert caught.value.__suppress_context__
    shown = traceback.format_exception(caught.value)
    assert len(shown) <= 4 and not any("site-packages" in line for line in shown)  # this test's frame, and sweep's
    resumed = jd.sweep(DECAY, 6, {"size": [1, 2]}, out=tmp_path / "run.zarr", **how)
    whole = jd.sweep(DECAY, 6, {"size": [1, 2]}, **how)
    for name in whole.data_vars:
        np.testing.assert_array_equal(resumed[name], whole[name])


def test_a_finished_store_says_so(tmp_path, capsys):
    how = HOW | {"out": tmp_path / "run.zarr"}
    jd.sweep(DECAY, 6, progress="first", **how)
    assert "first: 0 of 6 lanes, starting" in capsys.readouterr().err
    jd.sweep(DECAY, 6, progress="again", **how)
    assert capsys.readouterr().err.splitlines()[-1].startswith("again: 6 lanes done in ")


def test_polishing_is_shown(capsys):
    starts = jax.vmap(DECAY.init)(jr.split(jr.key(0), 3))
    found = jd.polish_lanes(DECAY, starts, devices=ONE)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "polish: 0 of 3 lanes, starting" and lines[-1].startswith("polish: 3 lanes done in ")
    np.testing.assert_allclose(found.params, 0.0, atol=1e-8)
