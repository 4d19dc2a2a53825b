"""``jaxmeta compare``: runs side by side."""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxmeta.runs._json import plain
from jaxmeta.runs._records import Record, clean, headline, read_record
from jaxmeta.storage import is_remote, write_whole

from ._flags import Call, parse
from ._folder import Folder

SUFFIXES = (".png", ".pdf", ".svg")
MOST_COLUMNS = 4  # of arguments that differ, beside the others


def compare(args: list[str]) -> Call:
    """Read the flags."""
    return parse(_compare, "jaxmeta compare", args)


def _compare(
    runs: Annotated[tuple[Folder, ...], tyro.conf.Positional],
    *,
    out: Folder | None = None,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Shows runs side by side: what differs between them, how far they came, and what they reached.

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


def run_names(folders: Sequence[Path]) -> list[str]:
    """What each run is called: its folder's name, with as much of the path as tells it from the others.

    Example:
      >>> run_names([Path("runs/a"), Path("b"), Path("old/a")])
      ['runs/a', 'b', 'old/a']
    """
    parts = [folder.parts if is_remote(folder) else folder.resolve().parts for folder in folders]
    names = []
    for own in parts:
        others = {other for other in parts if other != own}
        length = next(n for n in range(1, len(own) + 1) if own[-n:] not in {other[-n:] for other in others})
        names.append(clean("/".join(own[-length:])))
    twice = [f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]
    return twice


def differing(records: Sequence[Record]) -> dict[str, list[Any]]:
    """The arguments, seeds and knobs that are not the same in all runs, ``{name: [a value of each run]}``."""
    asked = [_asked(record.config) for record in records]
    names = dict.fromkeys(name for one in asked for name in one)
    values = {name: [one.get(name) for one in asked] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def _asked(config: dict[str, Any]) -> dict[str, Any]:
    parts = (config.get(name) for name in ("arguments", "compute"))
    found: dict[str, Any] = {"seed": config.get("seed")}
    for part in parts:
        found |= part if isinstance(part, dict) else {}
    return found


def _rate(record: Record) -> float | None:
    """The median of tasks per second; without the first interval, which compiled as well."""
    rates = [row["tasks_per_second"] for row in record.timing if "tasks_per_second" in row]
    return statistics.median(rates[1:] or rates) if rates else None


def _print(names: list[str], records: list[Record], *, as_json: bool) -> None:
    differs = differing(records)
    if as_json:
        rows = [_as_data(names[i], record, differs, i) for i, record in enumerate(records)]
        print(json.dumps(plain({"runs": rows}), indent=2))
        return
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(_table(names, records, differs if len(differs) <= MOST_COLUMNS else {}))
    if len(differs) > MOST_COLUMNS:
        console.print(_transposed(names, differs))
    if any(" *" in text for record in records for text in headline(record).values()):
        console.print("* the queries of a task see each other (batch statistics)")


def _as_data(name: str, record: Record, differs: dict[str, list[Any]], i: int) -> dict[str, Any]:
    made, wanted = record.steps
    about = {"run": name, "folder": str(record.folder), "recipe": record.config.get("recipe")}
    about["arguments"] = {argument: values[i] for argument, values in differs.items()}
    about |= {"status": record.status, "step": made, "num_steps": wanted, "tasks_per_second": _rate(record)}
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
        rate = "" if (found := _rate(record)) is None else f"{found:,.0f}"
        recipe = clean(record.config.get("recipe", "?"))
        table.add_row(name, recipe, *asked, _steps(record), *(reached[i].get(m, "") for m in metrics), rate)
    return table


def _transposed(names: list[str], differs: dict[str, list[Any]]) -> Any:
    """Many arguments that differ: a row for each, and a column for each run."""
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
