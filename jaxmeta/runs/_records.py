"""Read what a run folder says about its run, finished or not, to show it. Nothing in it is trusted."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from ..progress import in_units
from ..storage import size_of
from . import _folder
from ._config import CONFIG
from ._json import read_object

MOST_BYTES = 64 << 20  # of a file of rows


class Record(NamedTuple):
    """The contents of the files of a run. Fields whose file is missing are empty.

    Attributes:
      folder: the run folder.
      config: recipe, arguments, seed ... as in ``config.json``.
      results: status, step, rows, published ... as in ``results.json``.
      rows: of ``metrics.jsonl``, their numbers only.
      timing: of ``timing.jsonl``, the same.
    """

    folder: Path
    config: dict[str, Any]
    results: dict[str, Any]
    rows: list[dict[str, float]]
    timing: list[dict[str, float]]

    @property
    def status(self) -> str:
        """``finished``, ``interrupted``, ``diverged``, or ``unfinished``: still running, or killed."""
        return clean(self.results.get("status", "unfinished"))

    @property
    def steps(self) -> tuple[int, int]:
        """The number of steps made, and of those to make."""
        made = self.results.get("step", self.rows[-1]["step"] if self.rows else 0)
        return _whole(made), _whole(self.config.get("num_steps"))

    def results_rows(self) -> list[dict[str, Any]]:
        """Return the final estimates that have texts and numbers where they belong."""
        rows = self.results.get("rows")
        return [row for row in rows if _is_estimate(row)] if isinstance(rows, list) else []


def read_record(folder: Path) -> Record:
    """Read a run folder.

    Raises:
      ValueError: if it is not one, or its files are damaged or too large to be read.
    """
    path = folder / CONFIG
    _folder.check_inside(folder)
    if not path.is_file():
        raise ValueError(
            f"{str(folder)!r} is not a run folder: it has no {CONFIG}. Pass folders that `jaxmeta train` made."
        )
    config, results = read_object(path), {}
    if (folder / _folder.RESULTS).is_file():
        results = read_object(folder / _folder.RESULTS)
    return Record(folder, config, results, *(_rows(folder / name) for name in (_folder.METRICS, _folder.TIMING)))


def clean(text: Any) -> str:
    """Return untrusted text on one line, without the characters that control a terminal.

    Example:
      >>> clean("red \\x1b[31m")
      'red \\ufffd[31m'
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in str(text))


def value(row: dict[str, Any]) -> str:
    """Return an estimate with its interval, and a star if it is transductive.

    Example:
      >>> value({"metric": "accuracy", "mean": 0.5, "ci95": 0.01, "transductive": True})
      '50.0 ± 1.0 % *'
    """
    metric, mark = row["metric"], " *" if row["transductive"] else ""
    number = lambda x: "?" if x is None else in_units(metric, x)
    return f"{number(row['mean'])} ± {number(row['ci95'])}{mark}".replace(" % ±", " ±")


def headline(record: Record) -> dict[str, str]:
    """Return the trained learner's estimate of each metric, after its largest number of inner steps."""
    trained = [row for row in record.results_rows() if row["name"].startswith("after ")]
    return {clean(row["metric"]): value(row) for row in trained if row["name"] == trained[-1]["name"]}


def _rows(path: Path) -> list[dict[str, float]]:
    """Return the numbers of each whole line that has a step. A line that was cut short is left out."""
    rows = []
    for line in _text(path).splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and _is_number(row.get("step")):
            rows.append({str(name): x for name, x in row.items() if _is_number(x)})
    return rows


def _text(path: Path) -> str:
    if (size := size_of(path)) > MOST_BYTES:
        raise ValueError(f"{str(path)!r} has {size:,} bytes, more than the {MOST_BYTES:,} that are read.")
    return path.read_bytes().decode("utf-8", "replace")


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e300 and math.isfinite(x)


def _is_estimate(row: Any) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("name", "metric")):
        return False
    numbers = (row.get("mean"), row.get("ci95"))
    return all(x is None or _is_number(x) for x in numbers) and isinstance(row.get("transductive"), bool)


def _whole(x: Any) -> int:
    return int(x) if _is_number(x) else 0
