"""Read the runs of a table's rows, compare them with the paper's figures, and write the comparison."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from ..recipes import TABLES, Figure, Row
from . import _folder
from ._config import CONFIG
from ._json import plain, read_json, write_json
from ._machine import about

FILE = "table.json"


class Trained(NamedTuple):
    """One run of a row.

    Attributes:
      seed: of the run.
      status: ``"finished"``, ``"interrupted"``, ``"diverged"``, or ``"unfinished"`` if it was killed or goes on.
      step: meta-steps that it made.
      num_steps: meta-steps of its configuration.
      found: the measurement to compare, or None.
      about: hardware, versions and commit.
    """

    seed: int
    status: str
    step: int
    num_steps: int
    found: dict[str, Any] | None
    about: dict[str, Any]


class Ours(NamedTuple):
    """The runs of a row, and their mean in the unit of the paper's figure; NaN without a run.

    With several seeds the interval is over them, with one it is over its tasks.
    """

    row: Row
    runs: tuple[Trained, ...]
    mean: float
    ci95: float


def run_folder(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}-seed{seed}"


def read_row(row: Row, out: Path) -> Ours:
    """Read the runs of a row, of all seeds."""
    ends = (path.name.rpartition("-seed")[2] for path in out.glob(f"{row.name}-seed*"))
    seeds = sorted({int(end) for end in ends if end.isdecimal()})  # 7 and 07 are one
    folders = {seed: run_folder(out, row.name, seed) for seed in seeds}
    runs = tuple(_read(row, folder, seed) for seed, folder in folders.items() if (folder / CONFIG).is_file())
    scale = 100 if row.figure.metric == "accuracy" else 1
    found = [run.found for run in runs if run.found is not None]
    values = [scale * one["mean"] for one in found]
    own = scale * found[0]["ci95"] if len(found) == 1 else math.nan
    return Ours(row, runs, mean(values) if values else math.nan, _over_seeds(values) if len(values) > 1 else own)


def _over_seeds(values: list[float]) -> float:
    from scipy.stats import t as student

    return float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def results(folder: Path) -> dict[str, Any]:
    """Return the ``results.json`` of a run; empty if the run has not ended."""
    path = folder / _folder.RESULTS
    return read_json(path) if path.is_file() else {}


def _read(row: Row, folder: Path, seed: int) -> Trained:
    ended, asked = results(folder), read_json(folder / CONFIG)
    step = max(ended.get("step", 0), _last_step(folder))
    status = ended.get("status", "unfinished") if step == ended.get("step", 0) else "unfinished"
    rows = ended.get("rows", ()) if status != "unfinished" else ()  # else they are of an earlier step
    return Trained(seed, status, step, asked["num_steps"], headline(rows, row), ended.get("about", {}))


def _last_step(folder: Path) -> int:
    path = folder / _folder.METRICS
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    whole = [line for line in lines if line.endswith(b"\n")]  # the last may be cut short
    return json.loads(whole[-1])["step"] if whole else 0


def headline(rows: Iterable[dict[str, Any]], row: Row) -> dict[str, Any] | None:
    """Return the measurement to compare with the paper's: the one that the row names, or the last after adaptation."""
    named = lambda name: name.startswith("after") if row.at is None else name == row.at
    found = [r for r in rows if r["metric"] == row.figure.metric and named(r["name"]) and r["mean"] is not None]
    return found[-1] if found else None


def verdict(figure: Figure, mean: float, ci95: float) -> str:
    """Compare our mean with the paper's interval: better, within it, overlapping it from below, or worse.

    Example:
      >>> figure = Figure("98.7 ± 0.4", "MAML paper")
      >>> [verdict(figure, mean, 0.2) for mean in (99.2, 98.5, 98.2, 98.0)]
      ['better', 'within', 'overlaps', 'worse']
    """
    if math.isnan(mean):
        return ""
    if figure.known == "memory":
        return "unverified figure"
    ahead = round(mean - figure.mean if figure.metric == "accuracy" else figure.mean - mean, 6)  # 98.3 is 98.7 - 0.4
    theirs, ours = figure.ci95 or 0.0, 0.0 if math.isnan(ci95) else ci95
    if ahead > theirs:
        return "better"
    return "within" if ahead >= -theirs else "overlaps" if ahead + ours >= -theirs else "worse"


def as_dict(name: str, rows: Iterable[Ours]) -> dict[str, Any]:
    """Return the rows with hardware and versions, as JSON values; missing ones are null."""
    return plain({"table": name, **about(), "rows": [_row_dict(ours) for ours in rows]})


def _row_dict(ours: Ours) -> dict[str, Any]:
    row, figure, found = ours.row, ours.row.figure, [run.found for run in ours.runs if run.found]
    unit = "%" if figure.metric == "accuracy" else figure.metric
    return {
        "row": row.name, "recipe": row.recipe, "at": row.at, "metric": figure.metric, "unit": unit,
        "published": figure._asdict() | {"mean": figure.mean, "ci95": figure.ci95},
        "ours": {"mean": ours.mean, "ci95": ours.ci95} if found else None,
        "num_tasks": found[0]["num_tasks"] if found else None,
        "transductive": found[0]["transductive"] if found else None,
        "verdict": verdict(figure, ours.mean, ours.ci95),
        "runs": [run._asdict() for run in ours.runs],
    }  # fmt: skip


def write_table(name: str, out: Path) -> None:
    """Write ``table.json`` with all rows of the table, those of earlier calls too."""
    write_json(out / FILE, as_dict(name, [read_row(row, out) for row in TABLES[name]]))
