"""Show a table: our results beside the paper's."""

import math
from collections.abc import Iterable
from typing import Any

from jaxmeta.runs._tables import Ours, Trained, verdict


def show_table(name: str, rows: Iterable[Ours]) -> Any:
    """Return the rows as a rich table."""
    from rich.table import Table

    rows = list(rows)
    result = Table(title=name, title_justify="left", caption=_footnote(rows), caption_justify="left")
    for column in ("row", "published", "ours", "tasks: paper / ours", "seeds", "steps", "ours is"):
        result.add_column(column, justify="left" if column in ("row", "ours is") else "right", no_wrap=True)
    for ours in rows:
        figure, found = ours.row.figure, [run.found for run in ours.runs if run.found]
        mark = " *" if found and found[0]["transductive"] else ""
        tasks = f"{_count(figure.num_tasks)} / {_count(found[0]['num_tasks'] if found else None)}"
        published = figure.short + (" *" if figure.norm == "transductive" else "")
        name = ours.row.name + (f", {ours.row.at}" if ours.row.at else "")
        end = verdict(figure, ours.mean, ours.ci95) or ", ".join(sorted({run.status for run in ours.runs}))
        seeds = f"{len(found)} of {len(ours.runs)}" if len(found) < len(ours.runs) else str(len(found))
        result.add_row(name, published, _value(ours) + mark, tasks, seeds, _steps(ours.runs), end)
    return result


def _value(ours: Ours) -> str:
    if math.isnan(ours.mean):
        return "-"
    digits, unit = (2, " %") if ours.row.figure.metric == "accuracy" else (3, "")
    interval = "" if math.isnan(ours.ci95) else f" ± {ours.ci95:.{digits}f}"
    return f"{ours.mean:.{digits}f}{interval}{unit}"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _steps(runs: tuple[Trained, ...]) -> str:
    done, asked = sum(run.step for run in runs), sum(run.num_steps for run in runs)
    return f"{done:,} of {asked:,}" if runs else "-"


def _footnote(rows: list[Ours]) -> str:
    notes = ["ours is better than the paper's interval, within it, below with a common part (overlaps), or worse"]
    if any(run.found and run.found["transductive"] for ours in rows for run in ours.runs):
        notes.append("* the queries of a task see each other (batch statistics)")
    if any(ours.row.figure.known == "memory" for ours in rows):
        notes.append("unverified figure: published, but quoted from memory; no mark to pass")
    return "\n".join(notes)
