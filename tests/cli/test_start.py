"""Commands that compute nothing do not wait for JAX, and Ctrl-C is never a traceback."""

import os
import signal
import subprocess
import sys
import time

import pytest

HEAVY = ("jax", "diffrax", "equinox", "matplotlib", "xarray", "zarr", "scipy", "numpy")


def run(*words: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    program = ["-m", "jaxdyn", *words] if code is None else ["-c", code]
    return subprocess.run([sys.executable, *program], capture_output=True, text=True, env=os.environ | {"COLUMNS": "250"})


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "jaxdyn run kernel-vs-adaptive"),
        (["run", "--help"], 0, "--quick"),
        (["--version"], 0, "jaxdyn "),
        (["rnu"], 2, "run"),
        (["run", "kernel-vs-adaptiv"], 2, "did you mean 'kernel-vs-adaptive'"),
        (["run", "max-margin", "--seeds", "0", "--set", "rtol=2"], 2, "an integer of at least 2"),
        (["list"], 0, "max-margin"),
        (["list", "max-margin"], 0, "a number above 0 and below 1"),
        (["claims", "nothing"], 2, "There is no lab"),
    ],
)
def test_what_computes_nothing_imports_nothing_heavy(words, code, said):
    script = f"""
import sys
from jaxdyn.cli import main
sys.argv = ["jaxdyn", *{words!r}]
try:
    main()
finally:
    print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules])
"""
    found = run(code=script)
    assert found.returncode == code, found.stderr
    assert said in " ".join((found.stdout + found.stderr).split())
    assert "HEAVY []" in found.stdout
    assert "Traceback" not in found.stderr


def test_the_package_is_lazy_and_complete():
    script = """
import sys
import jaxdyn as jd
assert "jax" not in sys.modules
import jaxdyn.solve
from jaxdyn.solve import Outcome
assert callable(jd.solve) and jd.Outcome is Outcome  # the subpackage does not hide the function
names = [name for name in vars(__import__("jaxdyn._public", fromlist=["x"])) if not name.startswith("_")]
assert sorted(names) == dir(jd)
for name in names:
    assert getattr(jd, name) is not None
assert jd.labs.max_margin.Settings().seeds == 64
for wrong in ("nothing", "_nothing", "__wrapped__"):
    assert not hasattr(jd, wrong)
from jaxdyn import sweep, flows
assert sweep is jd.sweep and flows is jd.flows
"""
    found = run(code=script)
    assert found.returncode == 0, found.stderr


def test_python_m_and_completion():
    assert run("--show-completion").returncode == 0
    listed = subprocess.run(
        [sys.executable, "-m", "jaxdyn"],
        env=os.environ | {"_PYTHON _M JAXDYN_COMPLETE": "", "_JAXDYN_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in listed.stderr


def stopped(words: list[str], seconds: float, presses: int = 1, until: str = "") -> tuple[int, str]:
    """Presses Ctrl-C some time after a command has started; gives its exit code and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxdyn", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(seconds)
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


LATE = [pytest.param(*case, marks=pytest.mark.ci_slow) for case in [(2.5, 1), (5.0, 1), (5.0, 3), (8.0, 1)]]


@pytest.mark.parametrize(("seconds", "presses"), [(0.3, 1), (0.6, 1), (1.2, 1), *LATE])
def test_ctrl_c_is_one_sentence(tmp_path, seconds, presses):
    out = tmp_path / "half"
    code, said = stopped(["run", "kernel-vs-adaptive", "--tiny", "--quiet", "--device", "cpu", "--out", str(out)], seconds, presses)
    assert code in (130, -signal.SIGINT), said
    assert "Traceback" not in said and "Error" not in said
    assert len(said.splitlines()) <= 1
    if out.exists():
        assert said.strip() == f"Stopped. Resume with: jaxdyn resume {out}"
