"""Read the arrays of a safetensors file from anywhere: within bounds, and only what the caller expects."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_HEADER = 1 << 24  # bytes
FLOATS = ("F32", "F16", "BF16", "F64")
MOST = 3  # names that an error lists
Shape = tuple[int, ...]


def read_tensors(path: Path, argument: str, shapes: Mapping[str, Shape], what: str) -> dict[str, np.ndarray]:
    """Read the tensors named in ``shapes``, as float32; the file may hold others.

    All names and shapes are compared before an array is read, so a false header costs no memory.

    Args:
      path: a local file.
      argument: the caller's argument that named it, for errors.
      shapes: name -> shape, as the configuration has it.
      what: the model that these are the tensors of, for errors.

    Raises:
      ValueError: if the file is missing, truncated or no safetensors file; if tensors are missing, have another shape,
        are no floats, or are not finite.
      ImportError: if safetensors is not installed.
    """
    where = f"`{argument}`: {str(path)!r}"
    with _opened(path, where) as file:
        names = set(file.keys())
        if missing := [name for name in shapes if name not in names]:
            raise ValueError(
                f"{where} has no {_listed(missing)}; its {len(names)} tensors are {_listed(sorted(names))}. These are "
                f"the weights of another architecture, not of {what}."
            )
        for name, expected in shapes.items():
            _check(file.get_slice(name), name, expected, where)
        tensors = {name: _floats(file, name) for name in shapes}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{where}: {name} has NaN or infinite values. The file is damaged: fetch it again.")
    return tensors


def tensor_names(path: Path, argument: str) -> list[str]:
    """Return the names in a safetensors file, in order.

    Raises:
      ValueError: if it is missing, truncated or no safetensors file.
    """
    with _opened(path, f"`{argument}`: {str(path)!r}") as file:
        return sorted(file.keys())


def _opened(path: Path, where: str) -> Any:
    """Open a file once its size and the size of its header are plausible."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError("Reading weights needs safetensors: pip install 'jaxmeta[text]'.") from error
    if not path.is_file():
        raise ValueError(f"{where} is not there. Weights are read from safetensors; a pickle (.bin, .pt) never is.")
    total = os.path.getsize(path)
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if total < 8 or header > min(MAX_HEADER, total - 8):
        raise ValueError(
            f"{where} has {total:,} bytes and claims a header of {header:,} (at most {MAX_HEADER:,} are read); it is "
            "no safetensors file, or cut short. Fetch it again."
        )
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{where} is damaged or cut short ({error}). Fetch it again.") from error


def _check(tensor: Any, name: str, expected: Shape, where: str) -> None:
    shape, dtype = tuple(tensor.get_shape()), tensor.get_dtype()
    if shape != expected:
        raise ValueError(
            f"{where}: {name} has shape {list(shape)}, but config.json says {list(expected)}. The two files do not "
            "belong together, or are another architecture."
        )
    if dtype not in FLOATS:
        raise ValueError(
            f"{where}: {name} has dtype {dtype}; only {', '.join(FLOATS)} are read (no quantised weights)."
        )


def _floats(file: Any, name: str) -> np.ndarray:
    return np.asarray(file.get_tensor(name), np.float32)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(name[:80] for name in names[:MOST]) + more
