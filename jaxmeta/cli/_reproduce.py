"""``jaxmeta reproduce``: train the rows of a paper's table, and print ours beside the paper's."""

import contextlib
import json
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import tyro

from jaxmeta._suggest import near
from jaxmeta.ranges import Count, NotNegative, Tasks
from jaxmeta.recipes import TABLES, Row
from jaxmeta.runs import _folder
from jaxmeta.runs._rows import RowRun, cost, knobs_of, recipe_name, row_run, train_row
from jaxmeta.runs._tables import as_dict, read_row, results, write_table
from jaxmeta.storage import is_remote

from ._flags import Call, parse
from ._folder import Folder
from ._results import console
from ._run import DIVERGED, INTERRUPTED, run
from ._table import show_table

WIDTH = 132  # of a table that is not cut, where there is no terminal
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


class Options(NamedTuple):
    """The flags of a call that hold for every row."""

    table: str
    out: Path
    seeds: int
    minutes: float | None
    checkpoint_every: int
    changes: dict[str, Any]


def command(args: list[str]) -> Call:
    """Read the flags."""
    return parse(_reproduce, "jaxmeta reproduce", args)


def _reproduce(
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")] = None,
    /,
    *,
    data_dir: str | None = None,
    download: Flag = False,
    out: Folder | None = None,
    only: str = "*",
    seeds: Count = 1,
    minutes: NotNegative | None = None,
    checkpoint_every: Count = 500,
    num_steps: Count | None = None,
    test_tasks: Tasks | None = None,
    show: Flag = False,
    as_json: Annotated[Flag, tyro.conf.arg(name="json")] = False,
    listed: Annotated[Flag, tyro.conf.arg(name="list")] = False,
) -> int:
    """Train the rows of a paper's table one after the other, measure them, and print ours beside the paper's.

    Every row has a run folder of its own. The same call again continues where it was cut short; finished rows
    stay as they are. A row that differs from an earlier one in its measurement alone takes that one's
    training. Several calls with one `--out` and rows of their own may run at once.

    Args:
      name: of the table; without it the tables are listed.
      data_dir: where the data is, as for `jaxmeta train`.
      download: fetch the data if it is not there.
      out: folder of the runs and of table.json; by default runs/reproduce-<table>.
      only: rows whose name matches, as "*_5w1s".
      seeds: runs of each row, from seed 0; with several the interval is over them.
      minutes: end the training of a run after so many, if it has not ended by then.
      checkpoint_every: steps between checkpoints, from which the same call goes on.
      num_steps: meta-steps in place of the paper's, for trying out.
      test_tasks: held-out tasks in place of the recipe's, for trying out.
      show: train nothing, print what is there.
      as_json: print JSON in place of the table.
      listed: print the tables and their rows.
    """
    if listed or name is None:
        return _list(name, only, as_json=as_json)
    rows = _rows(name, only)
    asked = {"data_dir": data_dir, "download": download or None, "num_steps": num_steps, "test_tasks": test_tasks}
    changes = {name: value for name, value in asked.items() if value is not None}
    if out is not None and is_remote(out):
        raise ValueError(
            f"`--out`: a table's runs are copied from one another, and not in {str(out)!r}. Name a folder."
        )
    options = Options(name, out or Path("runs") / f"reproduce-{name}", seeds, minutes, checkpoint_every, changes)
    with _stdout_free(as_json):
        code = 0 if show else _train(rows, options)
    _print(rows, options, as_json=as_json)
    return code


@contextlib.contextmanager
def _stdout_free(yes: bool) -> Iterator[None]:
    """Send what training prints to standard error, where standard output is for JSON alone."""
    with contextlib.redirect_stdout(sys.stderr) if yes else contextlib.nullcontext():
        yield


def _rows(name: str, only: str) -> tuple[Row, ...]:
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; {near(name, TABLES)}")
    rows = tuple(row for row in TABLES[name] if fnmatch(row.name, only))
    if not rows:
        raise ValueError(f"`--only`: no row of {name} matches {only!r}; {near(only, (r.name for r in TABLES[name]))}")
    return rows


def _list(name: str | None, only: str, *, as_json: bool) -> int:
    if as_json:
        tables = TABLES if name is None else {name: _rows(name, only)}
        print(json.dumps({table: [_about(row) for row in rows] for table, rows in tables.items()}, indent=2))
        return 0
    for table in TABLES if name is None else (name,):
        rows = _rows(table, "*" if name is None else only)
        print(f"{table:<24}  {len(rows):>2} rows, {_cost(rows)}; {_papers(rows)}")
        for row in rows if name is not None else ():
            alike = f"; trained as {row.trained_as}" if row.trained_as else ""
            print(f"  {row.name:<32}  {row.at or '':<16}  {row.figure}; {_cost((row,))}{alike}")
    return 0


def _about(row: Row) -> dict[str, Any]:
    knobs = knobs_of(row)
    about = {"name": row.name, "recipe": recipe_name(row), "at": row.at, "published": row.figure._asdict()}
    return about | {"trained_as": row.trained_as} | {n: knobs[n] for n in ("num_steps", "tasks_per_step", "test_tasks")}


def _cost(rows: tuple[Row, ...]) -> str:
    steps, tasks = cost(rows)
    return f"{steps:,} steps of training, {tasks:,} tasks"


def _papers(rows: tuple[Row, ...]) -> str:
    return ", ".join(dict.fromkeys(row.figure.source for row in rows))


def _train(rows: tuple[Row, ...], options: Options) -> int:
    """Train what is missing, and write the table after every run. Where one diverges the others still run."""
    named = {row.name: row for row in rows}  # rows of one name share their run
    first = sorted(named.values(), key=lambda row: row.trained_as is not None)
    table, changes, every = TABLES[options.table], options.changes, options.checkpoint_every
    every_run = [
        row_run(row, seed, table, options.out, changes=changes, checkpoint_every=every)
        for row in first
        for seed in range(options.seeds)
    ]
    code = 0
    for one in every_run:
        ended = _train_one(one, options.minutes)
        write_table(options.table, options.out)
        jax.clear_caches()  # the programs of one run serve no other
        if ended == INTERRUPTED:
            return INTERRUPTED
        code = max(code, ended)
    return code


def _train_one(one: RowRun, minutes: float | None) -> int:
    """Train one run, and return an exit code; a run that has ended is left as it is."""
    if results(one.folder).get("status") == "diverged":
        return DIVERGED  # and it would again
    if _folder.is_complete(one.folder):
        return 0
    act = lambda progress: train_row(one, minutes=minutes, progress=progress)
    return run(act, one.config.arguments["num_steps"])


def _print(rows: tuple[Row, ...], options: Options, *, as_json: bool) -> None:
    ours = [read_row(row, options.out) for row in rows]
    if as_json:
        print(json.dumps(as_dict(options.table, ours), indent=2))
        return
    say = console()
    say.width = max(say.width, WIDTH)
    say.print(show_table(options.table, ours))
