"""JSON files, read within bounds and written whole."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxmeta.storage import size_of, write_bytes

MAX_BYTES = 1 << 20  # of a file that is read


def write_json(path: Path, value: Any) -> None:
    """Writes a file entirely or not at all."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def read_json(path: Path) -> Any:
    """What a file holds.

    Raises:
      ValueError: if it is too large, or not JSON.
    """
    try:
        if size_of(path) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as JSON ({error}); it is damaged or not a configuration."
        ) from error


def plain(value: Any) -> Any:
    """JSON has no NaN and no numpy: null, and plain numbers.

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
