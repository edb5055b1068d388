"""Claims as tables: for the terminal, and in Markdown for the docs."""

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ..labs.base import Claim
from .tables import number

STYLE = {"holds": "green", "loose": "yellow", "does not hold": "red", "not tested": "dim"}


def measured(claim: Claim) -> str:
    """What was measured, with its uncertainty where there is one.

    Args:
        claim: the claim.

    Returns:
        `0.1234 ± 0.005`.
    """
    if math.isnan(claim.measured):
        return "-"
    uncertain = math.isfinite(claim.uncertainty) and claim.uncertainty != 0
    return f"{number(claim.measured)} ± {claim.uncertainty:.2g}" if uncertain else number(claim.measured)


def headline(claims: Sequence[Claim]) -> str:
    """How many claims hold, in words.

    Args:
        claims: the claims.

    Returns:
        `5 of 6 claims hold`, with those that were not tested said apart.
    """
    held = sum(claim.held for claim in claims)
    untested = sum(claim.verdict == "not tested" for claim in claims)
    return f"{held} of {len(claims)} claims hold" + (f", {untested} not tested" if untested else "")


def claims_table(claims: Sequence[Claim], title: str | None = None) -> Table:
    """The claims for the terminal, readable at any width.

    Args:
        claims: the claims.
        title: above it; how many hold, by default.

    Returns:
        A table of two columns: the verdict; the claim with what was measured and expected, its statement, and what the number is.
    """
    table = Table(title=headline(claims) if title is None else title, title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for claim in claims:
        numbers = f": {measured(claim)}, expected {claim.expected}, {claim.seeds} seeds"
        what = Text.assemble((claim.id, "bold"), numbers, "\n", claim.statement)
        if claim.unit:
            what.append(f"\nmeasured is the {claim.unit}", "dim")
        table.add_row(Text(claim.verdict, style=STYLE.get(claim.verdict, "")), what)
    return table


def claims_markdown(claims: Sequence[Claim]) -> str:
    """The claims as a Markdown table.

    Args:
        claims: the claims.

    Returns:
        The table, ending with a newline; characters that would end a cell are escaped.
    """
    heads = ("claim", "statement", "measured", "expected", "tolerance", "verdict", "seeds")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for claim in claims:
        tolerance = number(claim.tolerance) + (f" ({claim.reason})" if claim.reason else "")
        unit = f" ({claim.unit})" if claim.unit else ""
        cells = (
            f"`{claim.id}`",
            f"{claim.statement} ({claim.paper})",
            measured(claim) + unit,
            claim.expected,
            tolerance,
            claim.verdict,
            str(claim.seeds),
        )
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
