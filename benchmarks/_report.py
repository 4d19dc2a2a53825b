"""Write the results of a benchmark: its table, and JSON with command, hardware, versions and commit."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def about() -> dict[str, Any]:
    """Return command, hardware, versions and commit of the figures."""
    from jaxmeta.runs._machine import hardware

    return {
        "command": " ".join(["python", *(os.path.relpath(arg) if Path(arg).exists() else arg for arg in sys.argv)]),
        "hardware": hardware(),
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        "python": platform.python_version(),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
    }


def write(name: str, rows: list[dict[str, Any]], notes: Sequence[str] = ()) -> None:
    """Print the rows as a table with notes below, and write them to ``results/<name>.json``."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(_show(row.get(column, "")) for column in columns) + " |")
    for note in notes:
        print(f"\n{note}")
    RESULTS.mkdir(exist_ok=True)
    about_it = about() | ({"notes": list(notes)} if notes else {})
    (RESULTS / f"{name}.json").write_text(json.dumps({**about_it, "rows": rows}, indent=2) + "\n")


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _git(*args: str) -> str:
    return subprocess.run(["git", *args], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
