"""``jaxmeta compare``: runs side by side."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxmeta.runs._compare import differing, rate, run_names
from jaxmeta.runs._json import plain
from jaxmeta.runs._records import Record, clean, headline, read_record
from jaxmeta.storage import is_remote, write_whole

from ._flags import Call, parse
from ._folder import Folder
from ._results import console

SUFFIXES = (".png", ".pdf", ".svg")
MOST_COLUMNS = 4  # of arguments that differ, beside the others


def command(args: list[str]) -> Call:
    """Read the flags."""
    return parse(_compare, "jaxmeta compare", args)


def _compare(
    runs: Annotated[tuple[Folder, ...], tyro.conf.Positional],
    *,
    out: Folder | None = None,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Show runs side by side: their differences, progress and results.

    Args:
      runs: run folders that `jaxmeta train` made, finished or not.
      out: a picture to write, of the runs' learning curves over each other: PNG, PDF or SVG.
      json: print JSON in place of the table.
    """
    if not runs:
        raise ValueError("`jaxmeta compare` needs run folders: jaxmeta compare runs/a-1 runs/a-2")
    _check_out(out)
    records = [read_record(run) for run in runs]
    names = run_names([record.folder for record in records])
    if out is not None:
        _draw(out, dict(zip(names, records, strict=True)))
    _print(names, records, as_json=json)
    if out is not None and not json:
        print(f"picture: {out}")
    return 0


def _print(names: list[str], records: list[Record], *, as_json: bool) -> None:
    differs = differing(records)
    if as_json:
        rows = [_as_data(names[i], record, differs, i) for i, record in enumerate(records)]
        print(json.dumps(plain({"runs": rows}), indent=2))
        return

    say = console(width=None if sys.stdout.isatty() else 200)
    say.print(_table(names, records, differs if len(differs) <= MOST_COLUMNS else {}))
    if len(differs) > MOST_COLUMNS:
        say.print(_transposed(names, differs))
    if any(" *" in text for record in records for text in headline(record).values()):
        say.print("* the queries of a task see each other (batch statistics)")


def _as_data(name: str, record: Record, differs: dict[str, list[Any]], i: int) -> dict[str, Any]:
    made, wanted = record.steps
    about = {"run": name, "folder": str(record.folder), "recipe": record.config.get("recipe")}
    about["arguments"] = {argument: values[i] for argument, values in differs.items()}
    about |= {"status": record.status, "step": made, "num_steps": wanted, "tasks_per_second": rate(record)}
    return about | {"rows": record.results_rows()}


def _table(names: list[str], records: list[Record], differs: dict[str, list[Any]]) -> Any:
    from rich.table import Table

    reached = [headline(record) for record in records]
    metrics = list(dict.fromkeys(metric for row in reached for metric in row))
    table = Table()
    for title in ("run", "recipe", *map(clean, differs), "steps", *metrics, "tasks/s"):
        number = title in (*metrics, "tasks/s")
        table.add_column(title, overflow="fold", no_wrap=number, justify="right" if number else "left")
    for i, (name, record) in enumerate(zip(names, records, strict=True)):
        asked = ["" if values[i] is None else clean(values[i]) for values in differs.values()]
        speed = "" if (found := rate(record)) is None else f"{found:,.0f}"
        recipe = clean(record.config.get("recipe", "?"))
        table.add_row(name, recipe, *asked, _steps(record), *(reached[i].get(m, "") for m in metrics), speed)
    return table


def _transposed(names: list[str], differs: dict[str, list[Any]]) -> Any:
    """Return a table with a row for each argument and a column for each run."""
    from rich.table import Table

    table = Table("argument", *names)
    for argument, values in differs.items():
        table.add_row(clean(argument), *("" if value is None else clean(value) for value in values))
    return table


def _steps(record: Record) -> str:
    made, wanted = record.steps
    if record.status == "finished" and made == wanted:
        return f"{made:,}"
    return f"{made:,} of {wanted:,} ({record.status})"


def _check_out(out: Path | None) -> None:
    if out is None:
        return
    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"`--out` must end in {', '.join(SUFFIXES)}, got {str(out)!r}.")
    if out.exists():
        raise ValueError(f"`--out`: {str(out)!r} exists, and nothing is overwritten. Choose another name.")
    if not is_remote(out) and not out.parent.is_dir():
        raise ValueError(f"`--out`: the folder {str(out.parent)!r} does not exist. Make it first.")


def _draw(out: Path, records: dict[str, Record]) -> None:
    from jaxmeta import plots

    drawn = {name: record.rows for name, record in records.items() if record.rows}
    if not drawn:
        raise ValueError("`--out`: none of the runs has logged a step yet, so there is nothing to draw.")
    figure = plots.learning_curves(drawn)
    write_whole(out, lambda file: figure.savefig(file, format=out.suffix[1:].lower()))
