"""Leaves of checkpoints by name, and errors for leaves that are not the expected ones."""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..storage import is_remote
from ..types import PyTree

FREE, MOST_RATIO = 64 << 20, 20


def by_name(tree: PyTree) -> dict[str, Any]:
    """Return the leaves by their path.

    Example:
      >>> by_name({"head": {"bias": 1.0}})
      {'head/bias': 1.0}
    """
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def check_leaves(folder: Any, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that two sets of leaves agree.

    Raises:
      ValueError: naming the leaves that differ.
    """
    differ = [f"missing: {name}" for name in wanted if name not in found]
    differ += [f"unexpected: {name}" for name in found if name not in wanted]
    for name in wanted.keys() & found.keys():
        have, want = (f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}" for leaf in (found[name], wanted[name]))
        differ += [f"{name}: {have} instead of {want}"] if have != want else []
    if differ:
        more = f" ... and {len(differ) - 8} more" if len(differ) > 8 else ""
        raise ValueError(
            f"`path`: {str(folder)!r} holds another model than `like`. {'; '.join(sorted(differ)[:8])}{more}. "
            "Build the learner with the arguments it was trained with."
        )


def check_size(folder: Any, found: Mapping[str, Any]) -> None:
    """Refuse arrays that are far larger than their files: compressed zeros fill the memory with a few bytes.

    Trained parameters compress by little. Up to `FREE` bytes, any ratio is accepted.

    Raises:
      ValueError: naming both sizes.
    """
    if is_remote(folder):
        return
    total = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in found.values())
    stored = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    if total > max(FREE, MOST_RATIO * stored):
        raise ValueError(
            f"`path`: {str(folder)!r} claims arrays of {total:,} bytes in files of {stored:,}; it is not read."
        )


def damaged(folder: Any, error: Exception) -> str:
    return f"`path`: the checkpoint {str(folder)!r} is damaged or cut short ({first_line(error)!r})."


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence orbax, which logs every file it touches; its errors are raised all the same."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
