"""How the pages are made: one table for README and site, mathematics as MathML, docstrings as mkdocstrings reads them.

Nothing is fetched, when the site is built or when it is read. Never imported by the library.
"""

import html
import re
from pathlib import Path

import griffe
from latex2mathml.converter import convert

ROOT = Path(__file__).parents[1]
TEX = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)


def on_page_markdown(markdown: str, **context) -> str:
    """Fills ``<!-- README: Heading -->`` with the tables below that heading; names files that are not on the site."""
    markdown = re.sub(r"<!-- README: (.+?) -->", lambda found: readme_tables(found[1]), markdown)
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+((?:benchmarks|jaxmeta|notebooks|tests)/[^)]+)\)", r"\1 `\2`", markdown)


def on_page_content(content: str, **context) -> str:
    """Turns LaTeX into MathML, which browsers draw by themselves."""
    return TEX.sub(_mathml, content)


def readme_tables(heading: str) -> str:
    """From the first row of the README's section to the last one.

    Raises:
      ValueError: if there is no such section, or no table in it.
    """
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    rows = re.search(r"^\|.*\|$", found[1], re.S | re.M) if found else None
    if rows is None:
        raise ValueError(f"README.md has no section {heading!r} with a table; a page of the site shows it.")
    return rows[0]


def _mathml(found: re.Match) -> str:
    return convert(html.unescape(found[2]), display="inline" if found[1] == "span" else "block")


class Examples(griffe.Extension):
    """Calls the section ``Example:`` of our docstrings as griffe knows it, and keeps comments about doctests out."""

    def on_object(self, *, obj: griffe.Object, **context) -> None:
        if obj.docstring:
            text = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = re.sub(r"  # doctest: .*$", "", text, flags=re.M)
