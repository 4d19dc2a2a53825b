"""The rows that a run adds to a file as it goes: where it is cut short and goes on, none is missing or there twice."""

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
    """A file of JSON, a row on each line; of several processes the first one writes it.

    Attributes:
      path: of the file.
      rows: all of them.
      written: how many of them an object store has.
    """

    path: Path
    rows: list[dict[str, Any]]
    written: int

    def add(self, row: dict[str, Any]) -> None:
        """One more; an object store gets it with the next `flush`."""
        self.rows.append(row)
        if jax.process_index() == 0 and not is_remote(self.path):
            append(self.path, row)

    def flush(self) -> None:
        """Has to come before a checkpoint of these rows' steps: a run goes on from that, with the rows of the file.

        An object store appends nothing: there the file is written again with every checkpoint, and not with every row.
        """
        if jax.process_index() == 0 and is_remote(self.path) and self.written < len(self.rows):
            write_bytes(self.path, b"".join(map(_line, self.rows)))
            self.written = len(self.rows)


def journal(path: Path, step: int) -> Journal:
    """With the rows up to a step; those after it, which a run that goes on will write again, are removed."""
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
    """The step of a row; a line that was cut short has none."""
    try:
        return json.loads(line)["step"] if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
