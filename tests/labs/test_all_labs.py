"""What all labs share: how settings are declared and refused, small settings, claims that are left out."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from jaxdyn import labs
from jaxdyn.labs import LABS, parts
from jaxdyn.labs.base import begin, read_lab_file
from jaxdyn.labs.claim import published, with_untested
from jaxdyn.labs.settings import Allowed, LabSettings, changed, setting, types_of

FIELDS = [(lab.name, field.name) for lab in LABS.values() for field in dataclasses.fields(lab.settings)]


@dataclasses.dataclass(frozen=True)
class Small(LabSettings):
    seeds: int = setting(4, "starts", quick=2, least=2)
    rtol: float = setting(1e-6, "tolerance", above=0, below=1)
    sizes: tuple[float, ...] = setting((1.0, 2.0), "sizes", tiny=(3.0,), above=0, most=9, entries=1, order="rising")
    pairs: tuple[tuple[int, int], ...] = setting(((1, 2),), "pairs", least=1, entries=1)
    even: int = setting(2, "pairs of neurons", even=True)
    on: bool = setting(True, "a switch")
    kind: str = setting("a", "which", options=("a", "b"))

    def conflicts(self, fit):
        if fit("seeds", "sizes") and self.seeds < len(self.sizes):
            yield "there must be a seed for each size."


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seeds", 1, "an integer of at least 2"),
        ("seeds", 2.5, "an integer"),
        ("seeds", "4", "an integer"),
        ("seeds", True, "an integer"),
        ("seeds", None, "an integer"),
        ("rtol", 0.0, "a number above 0 and below 1"),
        ("rtol", math.nan, "a number above 0 and below 1"),
        ("rtol", math.inf, "a number above 0 and below 1"),
        ("rtol", False, "a number above 0 and below 1"),
        ("rtol", 1e-6j, "a number above 0 and below 1"),
        ("sizes", (), "numbers above 0 and at most 9 in rising order, separated by commas"),
        ("sizes", (2.0, 1.0), "rising order"),
        ("sizes", (1.0, 1.0), "rising order"),
        ("sizes", (1.0, 10.0), "at most 9"),
        ("sizes", (1.0, "2"), "numbers"),
        ("sizes", 3.0, "numbers"),
        ("sizes", "1,2", "numbers"),
        ("pairs", ((1, 2, 3),), "pairs"),
        ("pairs", ((1, 0),), "of at least 1"),
        ("pairs", (1, 2), "pairs"),
        ("even", 3, "an even integer"),
        ("on", "no", "true or false"),
        ("on", 1, "true or false"),
        ("kind", "c", "one of a, b"),
        ("kind", 1, "one of a, b"),
    ],
)
def test_a_value_that_is_not_allowed(name, value, words):
    with pytest.raises(ValueError) as error:
        Small(**{name: value})
    said = str(error.value)
    assert said.startswith(f"{name}=") and words in said and "\n" not in said and said.endswith(".")


def test_all_that_is_wrong_is_said_at_once_and_conflicts_only_of_what_is_right():
    with pytest.raises(ValueError) as error:
        Small(seeds=2, sizes=(1, 2, 3), rtol=2, kind="c")
    assert [line.split("=")[0] for line in str(error.value).splitlines()] == ["rtol", "kind", "there must be a seed for each size."]
    with pytest.raises(ValueError) as error:
        Small(seeds="none", sizes=(1, 2, 3))
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ValueError) as error:
        changed("small", Small(), {"sedes": 3, "rtol": -1}, ["known before."])
    lines = str(error.value).splitlines()
    assert lines[0] == "known before." and "did you mean 'seeds'?" in lines[1] and lines[2].startswith("rtol=-1")


def test_lists_and_arrays_are_tuples():
    import numpy as np

    found = Small(seeds=np.int64(3), sizes=np.asarray([1.0, 2.0]), pairs=[[1, 2], [3, 4]])
    assert found == Small(seeds=3, sizes=(1.0, 2.0), pairs=((1, 2), (3, 4)))
    assert json.loads(json.dumps(dataclasses.asdict(found)))["pairs"] == [[1, 2], [3, 4]]


def test_presets():
    assert Small.preset(None) == Small()
    assert Small.preset("quick") == Small(seeds=2)
    assert Small.preset("tiny") == Small(seeds=2, sizes=(3.0,))
    with pytest.raises(ValueError, match="one of quick, tiny"):
        Small.preset("fast")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("lab", "name"), FIELDS)
def test_every_setting_of_every_lab_is_declared_and_refuses_other_types(lab, name):
    settings = LABS[lab].settings
    field = {field.name: field for field in dataclasses.fields(settings)}[name]
    allowed, kind = field.metadata["allowed"], types_of(settings)[name]
    assert isinstance(allowed, Allowed) and field.metadata["help"]
    for value in (field.default, field.metadata["quick"], field.metadata["tiny"]):
        assert allowed.fits(value, kind)
    for wrong in (object(), None, {"a": 1}, 1j):
        with pytest.raises(ValueError) as error:
            settings(**{name: wrong})
        assert str(error.value).splitlines()[0].startswith(f"{name}=")


@pytest.mark.parametrize("name", LABS)
def test_every_lab_has_small_settings_and_published_claims(name):
    lab = LABS[name]
    full, quick, tiny = (lab.settings.preset(preset) for preset in (None, "quick", "tiny"))
    assert full == lab.settings() and quick.seeds < full.seeds and tiny.seeds <= quick.seeds
    package = Path(str(getattr(labs, name.replace("-", "_")).__file__)).parent
    found = published(package)
    assert found and all(claim.id.startswith(f"{name}.") for claim in found)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: labs.max_margin.run({"seeds": 3}), "not as a dictionary"),
        (lambda: labs.max_margin.run(5), "not an object of type int"),
        (lambda: labs.max_margin.run(labs.teacher_student.Settings()), "not those of jaxdyn.labs.teacher_student"),
        (lambda: labs.max_margin.run(labs.max_margin.Settings), "not an object of type type"),
        (lambda: labs.max_margin.run(sedes=3), "did you mean 'seeds'"),
        (lambda: labs.max_margin.run(seeds=2.5), "an integer of at least 2"),
        (lambda: labs.max_margin.run(width=0), "width=0 must be an integer"),
        (lambda: labs.max_margin.run(width=True), "width=True must be an integer"),
        (lambda: labs.max_margin.run(animate="film.gif"), "has no animation"),
        (lambda: labs.early_alignment.run(animate="film.txt"), "written as .gif or .mp4"),
        (lambda: labs.max_margin.run(preset="fast"), "one of quick, tiny"),
        (lambda: labs.max_margin.run(out=3), "out=3 must be a path"),
    ],
)
def test_a_wrong_call_is_one_sentence(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_all_that_is_wrong_with_a_call_is_said_at_once():
    with pytest.raises(ValueError) as error:
        labs.max_margin.run({"seeds": 3}, width="wide", animate="film.gif", rtol=2.0, nothing=1)  # pyright: ignore[reportArgumentType]
    assert len(str(error.value).splitlines()) == 5


def test_a_run_older_than_a_setting_is_resumed(tmp_path):
    begin(tmp_path, "small", Small())
    record = json.loads((tmp_path / "lab.json").read_text())
    del record["settings"]["kind"], record["preset"]
    (tmp_path / "lab.json").write_text(json.dumps(record))
    found = read_lab_file(tmp_path)
    assert found is not None and found["preset"] is None
    begin(tmp_path, "small", Small())
    with pytest.raises(ValueError, match="rtol = 1e-06, kind = a, not rtol = 0.001, kind = b"):
        begin(tmp_path, "small", Small(kind="b", rtol=1e-3))


def test_what_is_left_out_is_not_tested():
    every = published(Path(str(labs.max_margin.__file__)).parent)
    claims = with_untested(every[1:3], every)
    assert [claim.id for claim in claims] == [claim.id for claim in every]
    assert claims[1:3] == every[1:3]
    assert all(claim.verdict == "not tested" and math.isnan(claim.measured) and claim.seeds == 0 for claim in claims[3:])

    runs = parts.Runs(["b"])
    runs.add("a", dict)
    runs.add("b", lambda: 1 / 0)
    runs.add("c", lambda: runs["b"])
    assert list(runs) == ["a"]
    assert parts.tested(lambda: [runs["a"] and every[0], every[0]], lambda: [runs["c"]]) == [{}, every[0]]
    with parts.panels():
        raise parts.LeftOut("b")
    whole = parts.Runs()
    with pytest.raises(KeyError), parts.panels():  # where nothing is left out, a run that is missing is a bug
        whole["b"]
