"""Build a page of HTML: all text is escaped, nothing is fetched, and no script runs."""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #f6f8fa; --faint: #57606a; --link: #0969da; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --soft: #161b22; --faint: #9198a1; --link: #4493f8; }
  body { background: #0d1117; color: #e6edf3; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: 1rem 0 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; }
nav a { color: var(--link); }
.about, caption, figcaption { color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; min-width: min(100%, 26rem); }
caption { text-align: left; padding: .3rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
td { overflow-wrap: break-word; font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; background: white; border-radius: 6px; border: 1px solid var(--line); }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .8rem; overflow-x: auto; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a page made of parts that are HTML already."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(name: str, title: str, *parts: str) -> str:
    """Return a heading with the content below it; nothing without content."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{escape(name)}">\n<h2>{escape(title)}</h2>\n{body}\n</section>' if body else ""


def paragraph(text: str, kind: str = "") -> str:
    marked = f' class="{escape(kind)}"' if kind else ""
    return f"<p{marked}>{escape(text)}</p>" if text else ""


def table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table whose first column names its rows.

    Example:
      >>> '<th scope="row">&lt;b&gt;</th><td>1</td>' in table("all", ["name", "count"], [["<b>", "1"]])
      True
    """
    columns = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "\n".join(_row(*row) for row in rows)
    inside = f"<caption>{escape(caption)}</caption>\n<thead><tr>{columns}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{escape(caption)}"><table>\n{inside}\n</table></div>'
    )


def picture(path: Path, alt: str, caption: str) -> str:
    """Return a PNG as part of the page; nothing if the file is missing."""
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    source = f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
    return f"<figure>\n{source}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def commands(lines: Iterable[tuple[str, str]]) -> str:
    """Return commands to copy, each under a comment that explains it."""
    text = "\n\n".join(f"# {comment}\n{command}" for comment, command in lines)
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def contents(links: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<li><a href="#{escape(name)}">{escape(title)}</a></li>' for name, title in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _row(name: str, *cells: str) -> str:
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(text)}</td>" for text in cells)}</tr>'
