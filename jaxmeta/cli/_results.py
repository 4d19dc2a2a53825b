"""The table of a final measurement."""

from collections.abc import Sequence
from typing import Any

from jaxmeta.progress import in_units
from jaxmeta.runs import Measurement


def console(*, stderr: bool = False, width: int | None = None) -> Any:
    """Return a rich console that shows words as they are, without markup, emoji or colours of numbers."""
    from rich.console import Console

    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def table(rows: Sequence[Measurement], published: str) -> Any:
    """Return the measurements as a rich table."""
    from rich.table import Table

    tasks = f"{rows[0].num_tasks:,} held-out tasks" if rows else ""
    result = Table(title=tasks, title_justify="left", caption=_footnote(rows, published), caption_justify="left")
    result.add_column("")
    result.add_column("metric")
    result.add_column("mean ± 95 %", justify="right")
    for row in rows:
        mark = " *" if row.transductive else ""
        value = f"{in_units(row.metric, row.mean)} ± {in_units(row.metric, row.ci95)}{mark}".replace(" % ±", " ±")
        result.add_row(row.name, row.metric, value)
    return result


def _footnote(rows: Sequence[Measurement], published: str) -> str:
    notes = [f"published: {published}"] if published else []
    if any(row.transductive for row in rows):
        notes.append("* predictions depend on the other queries of a task (batch statistics)")
    return "\n".join(notes)
