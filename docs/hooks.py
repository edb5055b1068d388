"""Fills the claims tables of the labs' pages when the docs are built."""

import json
import re
from pathlib import Path
from typing import Any

from jaxdyn.labs.base import Claim
from jaxdyn.report import claims_markdown, headline

MARK = re.compile(r"<!-- claims: (?P<file>\S+) -->")


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Puts a table in place of each `<!-- claims: assets/FILE.json -->`.

    Args:
        markdown: the page.
        config: mkdocs' configuration.
        **_: what else mkdocs hands over.

    Returns:
        The page with its tables.
    """
    return MARK.sub(lambda match: claims_of(Path(config["docs_dir"]) / match["file"]), markdown)


def claims_of(path: Path) -> str:
    """The table of one file of claims.

    Args:
        path: a list of claims, as `jaxdyn claims --json` writes it.

    Returns:
        A sentence and the table; another sentence where there is no file.
    """
    if not path.exists():
        lab = path.stem.removesuffix("-claims")
        return f"*The claims are not in this copy of the docs: `jaxdyn claims {lab} --json docs/assets/{path.name}` measures them.*"
    claims = [Claim(**entry) for entry in json.loads(path.read_text())]
    return f"**{headline(claims)}.**\n\n{claims_markdown(claims)}"
