"""What both kinds of checkpoints share: leaves by name, and what is said when they are not those that were expected."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from ..types import PyTree


def by_name(tree: PyTree) -> dict[str, Any]:
    """The leaves by their path.

    Example:
      >>> by_name({"head": {"bias": 1.0}})
      {'head/bias': 1.0}
    """
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def check_leaves(folder: Any, found: Mapping, wanted: Mapping) -> None:
    """Names the leaves that tell two models apart.

    Raises:
      ValueError: if there are any.
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


def damaged(folder: Any, error: Exception) -> str:
    return f"`path`: the checkpoint {str(folder)!r} is damaged or cut short ({first_line(error)!r})."


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def quiet() -> Iterator[None]:
    """orbax logs every file it touches: it is told to speak of nothing, and its errors are raised anyway."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
