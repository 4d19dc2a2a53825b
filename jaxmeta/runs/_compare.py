"""Compare runs: their names, the arguments that differ, and their rates."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..storage import is_remote
from ._records import Record, clean


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return the name of each run: its folder's, with as much of the path as tells it from the others.

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
    """Return the arguments, seeds and settings that differ between runs, ``{name: [a value of each run]}``."""
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


def rate(record: Record) -> float | None:
    """Return the median of tasks per second, without the first interval, which includes compilation."""
    rates = [row["tasks_per_second"] for row in record.timing if "tasks_per_second" in row]
    return statistics.median(rates[1:] or rates) if rates else None
