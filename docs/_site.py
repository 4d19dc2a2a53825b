"""Build the pages: tables of results, mathematics as MathML, docstrings as mkdocstrings reads them.

Nothing is fetched, neither when the site is built nor when it is read. The library never imports this file.
"""

import html
import importlib.util
import re
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert

SHIM = "https://unpkg.com/iframe-worker/shim"  # of material's plugin `offline`
TEX = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)


def on_page_markdown(markdown: str, **context: Any) -> str:
    """Put tables in place of ``<!-- results: NAME -->``; show links to files outside the site as their paths."""
    markdown = re.sub(r"<!-- results: (\w+) -->", lambda match: _results().table(match[1]), markdown)
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+((?:benchmarks|jaxmeta|notebooks|tests)/[^)]+)\)", r"\1 `\2`", markdown)


def on_page_content(content: str, **context: Any) -> str:
    """Turn LaTeX into MathML, which browsers draw without a script."""
    return TEX.sub(_mathml, content)


def on_post_page(output: str, *, page: Any, **context: Any) -> str:
    """Serve the script that lets search work without a server from this site instead of a public host."""
    return output.replace(SHIM, "../" * page.url.count("/") + "assets/offline_worker.js")


def on_post_template(output: str, **context: Any) -> str:
    """Do the same for 404.html, which a server shows at any depth: from the root."""
    return output.replace(SHIM, "/assets/offline_worker.js")


def _results() -> Any:
    """Return the module beside this one; the folder is no package."""
    spec = importlib.util.spec_from_file_location("_results", Path(__file__).with_name("_results.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _mathml(match: re.Match[str]) -> str:
    return convert(html.unescape(match[2]), display="inline" if match[1] == "span" else "block")


class Examples(griffe.Extension):
    """Rename the section ``Example:`` of our docstrings to griffe's, and leave out comments about doctests."""

    def on_object(self, *, obj: griffe.Object, **context: Any) -> None:
        if obj.docstring:
            text = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = re.sub(r"  # doctest: .*$", "", text, flags=re.M)
