"""Write the rows of a run as it goes. A run that is cut short and resumed has each row once."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from ..storage import is_remote, naming, write_bytes
from ._json import plain


@dataclass
class Journal:
    """A file with a row of JSON on each line. Of several processes the first one writes it.

    Attributes:
      path: of the file.
      rows: all of them.
      written: how many of them an object store has.
    """

    path: Path
    rows: list[dict[str, Any]]
    written: int

    def add(self, row: dict[str, Any]) -> None:
        """Add a row. An object store gets it with the next `flush`."""
        self.rows.append(row)
        if jax.process_index() == 0 and not is_remote(self.path):
            append(self.path, row)

    def flush(self) -> None:
        """Write all rows. Call it before a checkpoint of their steps: a resumed run has the rows of the file.

        An object store appends nothing: there the file is written again with every checkpoint, and not with every row.
        """
        if jax.process_index() == 0 and is_remote(self.path) and self.written < len(self.rows):
            write_bytes(self.path, b"".join(map(_line, self.rows)))
            self.written = len(self.rows)


def journal(path: Path, step: int) -> Journal:
    """Open a journal and keep its rows up to a step. Later ones are removed: a resumed run writes them again."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    kept = [line for line in lines if _at(line) <= step]
    if lines and jax.process_index() == 0:
        write_bytes(path, b"".join(kept))
    return Journal(path, [json.loads(line) for line in kept], len(kept))


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Append a line of JSON in one write; a symbolic link is not followed."""
    with naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        with open(descriptor, "ab") as file:
            file.write(_line(row))


def _line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(plain(row), allow_nan=False) + os.linesep).encode()


def _at(line: bytes) -> float:
    """Return the step of a row, or None for a line that was cut short."""
    try:
        return json.loads(line)["step"] if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
