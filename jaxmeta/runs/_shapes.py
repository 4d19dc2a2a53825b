"""Write the shapes of a task as JSON, from which a learner can be built without its data."""

from typing import Any

import jax
import numpy as np

from jaxmeta.types import Batch, Task

KINDS = frozenset("float64 float32 bfloat16 float16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split())
MAX_DEPTH = 16
MAX_AXES = 32


def encode(task: Any) -> Any:
    """Return a task of batches as nested dicts of shapes and dtypes; None for any other task.

    Example:
      >>> support = Batch(np.zeros((5, 2), np.float32), np.zeros(5, np.int32))
      >>> encode(Task(support, None))["support"]["x"]
      {'shape': [5, 2], 'dtype': 'float32'}
    """
    if not isinstance(task, Task) or not all(isinstance(part, Batch | None) for part in task):
        return None
    return {name: None if part is None else _encode(part._asdict()) for name, part in task._asdict().items()}


def _encode(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(name): _encode(part) for name, part in tree.items()}
    return None if tree is None else {"shape": list(np.shape(tree)), "dtype": np.dtype(tree.dtype).name}


def decode(about: Any, where: str) -> Task | None:
    """Return a task from the result of `encode`. The file may hold anything.

    Raises:
      ValueError: if it is not what `encode` makes.
    """
    if about is None:
        return None
    try:
        return Task(*(None if about[name] is None else Batch(**_decode(about[name])) for name in Task._fields))
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"{where}: `task` does not describe a task ({error!r}). Remove it, or restore the file."
        ) from error


def _decode(tree: Any, depth: int = 0) -> Any:
    if tree is None:
        return None
    if depth > MAX_DEPTH or not isinstance(tree, dict):
        raise ValueError(f"expected an object, got {tree!r}")
    if set(tree) != {"shape", "dtype"}:
        return {name: _decode(part, depth + 1) for name, part in tree.items()}
    shape, dtype = tree["shape"], tree["dtype"]
    if len(shape) > MAX_AXES:
        raise ValueError(f"an array of {len(shape)} axes")
    if dtype not in KINDS or not all(isinstance(size, int) and 0 <= size < 2**31 for size in shape):
        raise ValueError(f"unknown array {tree!r}")
    return jax.ShapeDtypeStruct(tuple(shape), dtype)
