"""Parameters chosen by their paths in a nested dict."""

from collections.abc import Callable
from typing import Any

import jax

from .types import PyTree


def partition(params: PyTree, adapt_only: Callable[[str], bool] | None) -> tuple[PyTree, PyTree]:
    """Split parameters by path into (adapted, frozen); each has None in the places of the other.

    Args:
      params: nested dict.
      adapt_only: predicate on the path, for instance ``"head/kernel"``; None adapts everything.

    Raises:
      ValueError: if no path is chosen.

    Example:
      >>> partition({"body": 1.0, "head": 2.0}, lambda path: path == "head")
      ({'body': None, 'head': 2.0}, {'body': 1.0, 'head': None})
    """
    if adapt_only is None:
        return params, jax.tree.map(lambda _: None, params)
    chosen = jax.tree_util.tree_map_with_path(lambda path, _: bool(adapt_only(path_name(path))), params)
    if not any(jax.tree.leaves(chosen)):
        paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        raise ValueError(f"`adapt_only` chooses none of the parameters, so nothing would adapt. Their paths: {paths}.")
    fast = jax.tree.map(lambda yes, p: p if yes else None, chosen, params)
    return fast, jax.tree.map(lambda yes, p: None if yes else p, chosen, params)


def path_name(path: Any) -> str:
    """Return a leaf's path in a nested dict, as ``"head/kernel"``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def merge(fast: PyTree, frozen: PyTree) -> PyTree:
    """Join what `partition` split."""
    return jax.tree.map(lambda f, p: p if f is None else f, fast, frozen, is_leaf=lambda leaf: leaf is None)
