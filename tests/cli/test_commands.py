"""The commands, with a lab that takes no time."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner, Result

from jaxdyn import _platform
from jaxdyn.cli.app import app
from jaxdyn.cli.session import count_cores


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def refused(result: Result, sentences: int = 1) -> str:
    """The sentences on stderr of a command that was misused."""
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == sentences, result.stderr
    assert "Traceback" not in result.output
    return result.stderr


def test_help_teaches_by_examples():
    result = invoke("--help")
    assert result.exit_code == 0
    for command in ("list", "run", "resume", "show", "doctor", "claims"):
        assert command in result.stdout
    assert "jaxdyn run kernel-vs-adaptive" in result.stdout
    assert "finding" in invoke("run", "--help").stdout


def test_list(toy_lab):
    assert "toy-lab" in invoke("list").stdout
    of_one = invoke("list", "toy-lab").stdout
    words = " ".join(of_one.split())
    for part in ("relative", "0.1, 1", "a number above 0 and", "an integer of", "one of plain,"):
        assert part in words


def test_run_writes_to_runs_and_prints_table_claims_and_paths(toy_lab, tmp_path):
    result = invoke("run", "toy-lab", "--seeds", "3", "--width", "8")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "runs/toy-lab/lab.json").read_text())["settings"]["seeds"] == 3
    for words in ("scale", "1 of 1 claims hold", "3.3 ± 0.25", "4.4", "runs/toy-lab/claims.json", "8"):
        assert words in result.stdout


def test_a_claim_that_does_not_hold_is_no_failure(toy_lab):
    result = invoke("run", "toy-lab", "--set", "mode=wrong")
    assert result.exit_code == 0
    assert "does not hold" in result.stdout


def test_other_settings_in_the_same_directory(toy_lab, tmp_path):
    assert invoke("run", "toy-lab", "--out", "here").exit_code == 0
    before = (tmp_path / "here/lab.json").read_text()
    assert "scales" in refused(invoke("run", "toy-lab", "--out", "here", "--set", "scales=5"))
    assert (tmp_path / "here/lab.json").read_text() == before


def test_more_seeds_go_on_in_the_same_directory(toy_lab):
    assert invoke("run", "toy-lab").exit_code == 0
    result = invoke("run", "toy-lab", "--seeds", "10")
    assert result.exit_code == 0
    assert "11 ± 0.25" in result.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "toy-lob"], "did you mean 'toy-lab'"),
        (["run", "toy-lab", "--set", "rtol=fine"], "rtol='fine' must be a number above 0 and below 1"),
        (["run", "toy-lab", "--set", "rtool=1"], "did you mean 'rtol'"),
        (["run", "toy-lab", "--set", "mode=broken"], "at least one seed"),
        (["run", "toy-lab", "--set", "mode=strange"], "mode='strange' must be one of plain, broken"),
        (["run", "toy-lab", "--seeds", "2.5"], "seeds='2.5' must be an integer of at least 1"),
        (["run", "toy-lab", "--width", "0"], "--width takes an integer of at least 1"),
        (["run", "toy-lab", "--quick", "--tiny"], "give one of them"),
        (["run", "toy-lab", "--animate", "neurons.gif"], "has no animation"),
        (["run", "toy-lab", "--device", "tpu"], "no TPU"),
        (["list", "nothing"], "the labs are toy-lab"),
        (["resume", "nowhere"], "holds no run of a lab"),
        (["show", "nowhere"], "holds no run of a lab"),
        (["claims", "toy-lab", "nothing"], "the labs are toy-lab"),
        (["claims", "--json", "no/such/file.json"], "is no directory"),
    ],
)
def test_misuse_is_one_sentence(toy_lab, words, sentence):
    assert sentence in refused(invoke(*words))


def test_all_that_is_wrong_is_said_at_once(toy_lab, tmp_path):
    (tmp_path / "taken").write_text("a file")
    wrong = ["--set", "rtol=x", "--set", "scales=1,0", "--set", "nothing=1", "--set", "alone", "--set", "balanced=perhaps"]
    words = refused(invoke("run", "toy-lab", *wrong, "--seeds", "0", "--width", "two", "--out", "taken"), 8)
    names = ("rtol='x'", "scales=(1.0, 0.0)", "nothing", "alone", "balanced='perhaps'", "seeds=0", "--width", "taken is a file")
    assert all(name in words for name in names)
    assert "--seeds" in refused(invoke("run", "nothing", "--seeds", "x", "--set", "alone", "--out", "taken"), 4)
    words = refused(invoke("claims", "nothing", "toy-lab", "neither", "--json", "no/such/file.json", "--out", "taken"), 4)
    assert all(name in words for name in ("'nothing'", "'neither'", "is no directory", "taken is a file"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]
    assert "must be at most 2" in refused(invoke("run", "toy-lab", "--set", "rtol=0.9"))


@pytest.mark.parametrize(
    ("flags", "seeds", "scales"), [(["--quick"], 2, [0.1, 1.0]), (["--tiny"], 2, [1.0]), (["--quick", "--seeds", "7"], 7, [0.1, 1.0])]
)
def test_presets_have_their_own_settings_and_directory(toy_lab, tmp_path, flags, seeds, scales):
    assert invoke("run", "toy-lab", *flags).exit_code == 0
    folder = f"runs/toy-lab{flags[0].removeprefix('-')}"
    record = json.loads((tmp_path / folder / "lab.json").read_text())
    assert (record["settings"]["seeds"], record["settings"]["scales"]) == (seeds, scales)
    assert record["preset"] == flags[0].removeprefix("--")
    again = invoke("resume", folder)
    assert again.exit_code == 0
    assert json.loads((tmp_path / folder / "lab.json").read_text()) == record


def test_version():
    assert invoke("--version").stdout == f"jaxdyn {version('jaxdyn')}\n"


def test_an_output_directory_that_is_a_file(toy_lab, tmp_path):
    (tmp_path / "taken").write_text("a file")
    assert "--out" in refused(invoke("run", "toy-lab", "--out", "taken/runs"))


def test_a_broken_lab_file(toy_lab, tmp_path):
    (tmp_path / "lab.json").write_text("{")
    assert "broken" in refused(invoke("resume", str(tmp_path)))


def test_a_bug_keeps_its_traceback(toy_lab):
    result = invoke("run", "toy-lab", "--set", "mode=buggy")
    assert result.exit_code == 1
    assert isinstance(result.exception, ValueError)


def test_ctrl_c_says_how_to_resume(toy_lab):
    result = invoke("run", "toy-lab", "--set", "mode=stopped", "--out", "half")
    assert result.exit_code == 130
    assert "jaxdyn resume half" in result.stderr
    unfinished = invoke("show", "half")
    assert unfinished.exit_code == 0
    assert "has not finished: jaxdyn resume half" in unfinished.stdout


def test_resume_runs_the_same_settings(toy_lab, tmp_path):
    asked = {"seeds": 2, "rtol": 1e-3, "scales": [1.0, 3.0], "sizes": [[1, 1]], "mode": "plain", "balanced": False}
    (tmp_path / "lab.json").write_text(json.dumps({"lab": "toy-lab", "settings": asked, "finished": False, "table": []}))
    result = invoke("resume", str(tmp_path))
    assert result.exit_code == 0, result.output
    after = json.loads((tmp_path / "lab.json").read_text())
    assert after["finished"]
    assert after["settings"] == asked
    assert "8 ± 0.25" in result.stdout


def test_show_prints_what_run_printed(toy_lab):
    ran = invoke("run", "toy-lab").stdout
    shown = invoke("show", "runs/toy-lab")
    assert shown.exit_code == 0
    assert "1 of 1 claims hold" in shown.stdout
    assert shown.stdout.split("Written")[0] == ran.split("Written")[0]
    assert "claims.json" in shown.stdout


def test_claims_of_all_labs(toy_lab, tmp_path):
    result = invoke("claims", "--json", "found.json", "--out", "kept")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert [claim["id"] for claim in found] == ["toy-lab.sum"]
    assert found[0]["seeds"] == 4
    assert (tmp_path / "kept/toy-lab/claims.json").exists()
    assert "toy-lab.sum" in result.stdout


def test_claims_into_nowhere_leave_nothing(toy_lab, tmp_path):
    assert invoke("claims", "toy-lab", "toy-lab").exit_code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ci_slow
def test_doctor_of_a_sound_machine():
    result = invoke("doctor")
    assert result.exit_code == 0, result.output
    for words in ("jaxlib", "lane, relu", "cpu", "This machine is sound."):
        assert words in result.stdout


@pytest.mark.ci_slow
def test_doctor_of_a_machine_that_miscompiles(monkeypatch):
    monkeypatch.setattr(_platform, "miscompiles", lambda: 3616)
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "3616 of 20000 rows are wrong" in result.stdout
    assert 'python -m pip install "jax>=0.10.1,!=0.10.2,!=0.11.0,!=0.11.1"' in result.stdout


def test_doctor_knows_the_bad_releases(monkeypatch):
    monkeypatch.setattr(_platform, "versions", lambda: {"jaxlib": "0.10.2"})
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "0.10.2 must not be used" in result.stdout
    assert "!=0.10.2" in result.stdout


def in_a_process(code: str, **environment: str) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "XLA_"))}
    return subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, check=True).stdout.strip()


START = "from jaxdyn.cli.session import start_jax; start_jax(None); import jax; print(len(jax.devices()), jax.numpy.ones(1).dtype)"


def test_commands_compute_in_float64_on_every_core():
    assert in_a_process(START, JAX_PLATFORMS="cpu") == f"{count_cores()} float64"


def test_the_number_of_devices_that_the_user_chose_stays():
    assert in_a_process(START, JAX_PLATFORMS="cpu", XLA_FLAGS="--xla_force_host_platform_device_count=3") == "3 float64"


def test_the_command_is_installed():
    code = "from importlib.metadata import entry_points; print(entry_points(group='console_scripts')['jaxdyn'].load().__name__)"
    assert in_a_process(code) == "main"
