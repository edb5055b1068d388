"""What is typed after --set, as values."""

from typing import Literal

import pytest

from jaxdyn.cli.settings import find_lab, make_settings, parse, restore_settings


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("3", int, 3),
        ("1e-8", float, 1e-8),
        ("a=b", str, "a=b"),
        ("yes", bool, True),
        ("Off", bool, False),
        ("0.1,1, 10", tuple[float, ...], (0.1, 1.0, 10.0)),
        ("(1, 2)", tuple[int, int], (1, 2)),
        ("-1,1.5", tuple[int, float], (-1, 1.5)),
        ("", tuple[int, ...], ()),
        ("(1,2),(3,4)", tuple[tuple[int, int], ...], ((1, 2), (3, 4))),
        ("none", float | None, None),
        ("2", float | None, 2.0),
        ("sqrt", Literal["sqrt", "linear"], "sqrt"),
        ("4", Literal[2, 4], 4),
    ],
)
def test_parse(text, kind, expected):
    value = parse(text, kind)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1.5", int),
        ("one", float),
        ("maybe", bool),
        ("1,2,3", tuple[int, int]),
        ("1,x", tuple[float, ...]),
        ("(1,2),(3)", tuple[tuple[int, int], ...]),
        ("cubic", Literal["sqrt", "linear"]),
        ("x", float | None),
    ],
)
def test_parse_refuses_what_does_not_fit(text, kind):
    with pytest.raises(ValueError):
        parse(text, kind)


def test_settings_of_a_lab(toy_lab):
    settings = make_settings(toy_lab, ["scales=1,2", "rtol=1e-3", "balanced=no"], seeds="7")
    assert (settings.scales, settings.rtol, settings.balanced, settings.seeds) == ((1.0, 2.0), 1e-3, False, 7)
    assert make_settings(toy_lab, []) == toy_lab.settings()


def test_restored_settings_equal_those_that_were_written(toy_lab):
    stored = {"seeds": 3, "rtol": 1e-6, "scales": [0.5, 2.0], "mode": "plain", "balanced": True}
    assert restore_settings(toy_lab, stored) == toy_lab.settings(seeds=3, scales=(0.5, 2.0))
    with pytest.raises(ValueError, match="no setting 'gone'"):
        restore_settings(toy_lab, {"gone": 1})


@pytest.mark.parametrize(
    ("assignments", "seeds", "words"),
    [
        (["rtol"], None, "name=value"),
        (["sizes=(1,2),(3)"], None, "sizes='\\(1,2\\),\\(3\\)' must be pairs"),
        (["rtool=1"], None, "did you mean 'rtol'"),
        (["zzz=1"], None, "its settings are seeds, rtol, scales"),
        (["rtol=1", "rtol=2"], None, "given twice"),
        (["seeds=3"], "4", "give one of them"),
    ],
)
def test_settings_refused(toy_lab, assignments, seeds, words):
    with pytest.raises(ValueError, match=words):
        make_settings(toy_lab, assignments, seeds)


def test_labs_are_found_by_name(toy_lab):
    labs = {"toy-lab": toy_lab}
    assert find_lab(labs, "toy_lab") is toy_lab
    with pytest.raises(ValueError, match="did you mean 'toy-lab'.*the labs are toy-lab"):
        find_lab(labs, "toy-lob")
