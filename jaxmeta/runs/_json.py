"""JSON files, read within bounds and written whole."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..storage import read_json as read_json
from ..storage import write_bytes


def write_json(path: Path, value: Any) -> None:
    """Write a file entirely or not at all."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
      ValueError: as `read_json`, or if it holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{str(path)!r} should hold an object, got {type(value).__name__}; it is damaged.")
    return value


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN and infinity become null, arrays of one element plain numbers.

    Example:
      >>> plain({"loss": float("nan"), "steps": (1, 2)})
      {'loss': None, 'steps': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
