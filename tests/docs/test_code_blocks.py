"""Every Python block of the README and the docs runs, page by page, and so do the examples."""

import ast
import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:python|\{ \.python \.needs-(?P<needed>\w+) \})\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
"""A block marked with what it needs runs where that is installed."""
SCRIPT = re.compile(r"^```\{ \.python \.script \}\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


def blocks(page: Path) -> list[str]:
    """The code of a page, each block preceded by as many empty lines as put it on its own line numbers."""
    text = page.read_text()
    found = [match for match in BLOCK.finditer(text) if match["needed"] is None or importlib.util.find_spec(match["needed"])]
    return ["\n" * text[: match.start("code")].count("\n") + match["code"] for match in found]


@pytest.mark.ci_slow
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for code in blocks(page):
        exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.ci_slow
def test_processes_are_spawned(tmp_path):
    (code,) = SCRIPT.findall((ROOT / "docs" / "recipes.md").read_text())
    (tmp_path / "many.py").write_text(code)
    run = subprocess.run(
        [sys.executable, "many.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=300
    )
    assert run.returncode == 0, run.stderr.decode()
    np.testing.assert_allclose(ast.literal_eval(run.stdout.decode()), 0.5 * np.exp([-1.0, -2.0]), rtol=1e-4)


def test_pages_with_code_are_found():
    names = {page.name for page in WITH_CODE}
    assert {"README.md", "quickstart.md", "own-network.md", "numerics.md", "concepts.md", "recipes.md"} <= names


@pytest.mark.slow  # the examples run by themselves in CI
@pytest.mark.parametrize(
    ("script", "argument", "words"),
    [
        ("quickstart.py", "2", "init scale   3"),
        ("own_network.py", "2", "outcomes: {'stopped': 2}"),
        ("halfway_scale.py", "1", "kernel change 0.5000000000"),
        ("label_influence.py", "figure.png", "drawn: figure.png"),
    ],
)
def test_example(script, argument, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, argument])
    runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
    assert words in capsys.readouterr().out


def test_readme_begins_with_the_two_commands():
    found = re.findall(r"^```bash\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert found[:2] == [
        "python -m pip install -e . && jaxdyn run kernel-vs-adaptive",
        'python -m pip install -e ".[test]" && pytest',
    ]
