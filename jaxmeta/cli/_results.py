"""The table of a final measurement."""

from collections.abc import Iterable
from typing import Any

from jaxmeta.runs._measure import Rows
from jaxmeta.runs._records import show


def table(rows: Iterable[dict[str, Any]], published: str) -> Any:
    """The rows as a rich table."""
    from rich.table import Table

    rows = list(rows)
    tasks = f"{rows[0]['num_tasks']:,} held-out tasks" if rows else ""
    result = Table(title=tasks, title_justify="left", caption=_footnote(rows, published), caption_justify="left")
    result.add_column("")
    result.add_column("metric")
    result.add_column("mean ± 95 %", justify="right")
    for row in rows:
        mark = " *" if row["transductive"] else ""
        value = f"{show(row['metric'], row['mean'])} ± {show(row['metric'], row['ci95'])}{mark}".replace(" % ±", " ±")
        result.add_row(row["name"], row["metric"], value)
    return result


def _footnote(rows: Rows, published: str) -> str:
    notes = [f"published: {published}"] if published else []
    if any(row["transductive"] for row in rows):
        notes.append("* the queries of a task see each other (batch statistics)")
    return "\n".join(notes)
