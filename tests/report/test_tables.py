"""Numbers and tables as text."""

import dataclasses
import math

import pytest
from rich.console import Console

from jaxdyn.labs.base import Claim, LabSettings, setting
from jaxdyn.report import claims_markdown, claims_table, headline, number, paths_table, rows_table, settings_table

HELD = Claim("lab.a", "1906.07842, section 2", "delta | is kept", 0.123456, 0.0123, "below 0.2", 0.2, "rtol", "holds", 64, "median")
BROKEN = dataclasses.replace(HELD, id="lab.b", measured=3.0, uncertainty=math.nan, verdict="does not hold", reason="", unit="")
UNTESTED = dataclasses.replace(HELD, id="lab.c", measured=math.nan, verdict="not tested")
LOOSE = dataclasses.replace(HELD, id="lab.d", verdict="loose")


def printed(table, width=120):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (math.nan, "-"),
        (None, "-"),
        (12, "12"),
        ("relu", "relu"),
        ((0.1, 10.0), "0.1, 10"),
        (1e-9, "1e-09"),
        (True, "True"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_rows_keep_the_order_of_columns_and_take_markup_literally():
    text = printed(rows_table([{"b": 1.5, "a": "[bold]"}, {"b": math.nan, "a": "x"}], "a lab"))
    head, _, first, second = [line for line in text.splitlines() if line.strip()][1:]
    assert head.split() == ["b", "a"]
    assert first.split() == ["1.5", "[bold]"]
    assert second.split() == ["-", "x"]


def test_rows_of_nothing():
    assert printed(rows_table([])).strip() == ""


def test_a_wide_table_of_few_rows_is_turned_on_its_side():
    rows = [{"regime": name, "loss": 0.25, "a rather long name": 1e-6} for name in ("kernel", "adaptive")]
    lines = [line.split() for line in printed(rows_table(rows, width=20)).splitlines() if line.strip()]
    assert lines[0] == ["regime", "kernel", "adaptive"]
    assert lines[2:] == [["loss", "0.25", "0.25"], ["a", "rather", "long", "name", "1e-06", "1e-06"]]
    upright = [line.split() for line in printed(rows_table(rows, width=80)).splitlines() if line.strip()]
    assert upright[2] == ["kernel", "0.25", "1e-06"]


def test_claims_for_the_terminal():
    text = printed(claims_table([HELD, BROKEN, UNTESTED, LOOSE]))
    assert "2 of 4 claims hold, 1 not tested" in text
    for words in ("lab.a", "delta | is kept", "0.1235 ± 0.012", "does not hold", "not tested", "loose", "64"):
        assert words in text


def test_headline_counts_loose_as_held():
    assert headline([HELD, LOOSE]) == "2 of 2 claims hold"
    assert headline([]) == "0 of 0 claims hold"


def test_claims_in_markdown():
    lines = claims_markdown([HELD, BROKEN]).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == 8
    assert lines[2] == (
        "| `lab.a` | delta \\| is kept (1906.07842, section 2) | 0.1235 ± 0.012 (median) | below 0.2 | 0.2 (rtol) | holds | 64 |"
    )
    assert lines[3].split(" | ")[2:6] == ["3", "below 0.2", "0.2", "does not hold"]


def test_paths_are_never_cut():
    path = "/somewhere/" + "x" * 150
    assert path in printed(paths_table({"store": path}), width=60).replace("\n", "").replace(" ", "")


def test_settings_with_their_ranges_and_help():
    @dataclasses.dataclass(frozen=True)
    class Settings(LabSettings):
        seeds: int = setting(64, "starts", least=2)
        scales: tuple[float, ...] = setting((0.1, 1.0), "init scales", quick=(0.5,), above=0, entries=1)

    text = printed(settings_table(Settings), width=160)
    (row,) = (line for line in text.splitlines() if "scales" in line)
    assert [part.strip() for part in row.split("  ") if part.strip()] == [
        "scales",
        "0.1, 1",
        "0.5",
        "numbers above 0, separated by commas",
        "init scales",
    ]
    assert "an integer of at least 2" in text
