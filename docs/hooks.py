"""Fills the claims tables of the labs' pages when the docs are built."""

import re
from pathlib import Path
from typing import Any

import jaxdyn.labs
from jaxdyn.labs.claim import PUBLISHED_FILE, published
from jaxdyn.report import claims_markdown, headline

MARK = re.compile(r"<!-- claims: (?P<lab>\S+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts a table in place of each `<!-- claims: LAB -->`.

    Args:
        markdown: the page.
        **_: what else mkdocs hands over.

    Returns:
        The page with its tables.
    """
    return MARK.sub(lambda match: claims_of(match["lab"]), markdown)


def claims_of(lab: str) -> str:
    """The table of the claims of a lab, as its default settings measured them.

    Args:
        lab: its name.

    Returns:
        A sentence and the table; another sentence for a lab that has not been published.
    """
    package = Path(str(jaxdyn.labs.__file__)).parent / lab.replace("-", "_")
    claims = published(package)
    if not claims:
        return f"*These claims are not published: `jaxdyn claims {lab} --json {package.name}/{PUBLISHED_FILE}` measures them.*"
    return f"**{headline(claims)}.**\n\n{claims_markdown(claims)}"
