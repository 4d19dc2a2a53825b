"""Make a class set from arrays and labels. Letters: M examples, C classes."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxmeta.types import ClassSet, PyTree


def from_arrays(x: PyTree, y: ArrayLike, *, names: Sequence[str] | None = None) -> ClassSet:
    """Make a `ClassSet` from labelled arrays, sorted by class; examples keep their order within a class.

    Args:
      x: pytree of arrays ``[M, ...]`` of any dtype but object; floating leaves must be finite. A list is M examples of
        one shape, which are stacked; a tuple or dict is a tree of arrays.
      y: ``[M]``, integers >= 0 or strings. Classes need not be consecutive nor of equal size.
      names: with integer labels, the name of each label: ``names[label]``. By default the label itself.

    Returns:
      A `ClassSet` with one class per label that occurs, in ascending (alphabetical) order.

    Raises:
      ValueError: if `x` is empty, of unequal lengths or shapes, or not finite; if `y` is not ``[M]`` or holds no
        labels; if `names` does not fit `y`.

    Example:
      >>> import numpy as np
      >>> from jaxmeta import datasets
      >>> data = datasets.from_arrays(np.array([[0.5], [0.25], [1.0]]), ["dog", "cat", "dog"])
      >>> data.names, data.count.tolist(), data.x.ravel().tolist()
      (('cat', 'dog'), [1, 2], [0.25, 0.5, 1.0])
    """
    labels = _check_labels(y)
    x = _stacked(x, len(labels)) if isinstance(x, list) else x
    leaves = jax.tree_util.tree_leaves_with_path(jax.tree.map(np.asarray, x))
    if not leaves:
        raise ValueError("`x` holds no array, so there is nothing to draw from; pass arrays [M, ...].")
    for path, leaf in leaves:
        _check_leaf(f"x{jax.tree_util.keystr(path)}", leaf, len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    order = np.argsort(labels, kind="stable")
    return class_set(jax.tree.map(lambda leaf: np.asarray(leaf)[order], x), counts, _names(classes, names))


def class_set(x: PyTree, counts: ArrayLike, names: Sequence[str]) -> ClassSet:
    """Make a `ClassSet` from arrays ``[M, ...]`` that are sorted by class, and the size of each class ``[C]``."""
    count = np.asarray(counts, np.int32)
    start = np.cumsum(count, dtype=np.int32) - count
    return ClassSet(x, start, count, tuple(str(name) for name in names))


def pick(data: ClassSet, names: Sequence[str]) -> ClassSet:
    """Return the classes with these names, in this order; all must be there."""
    index = {name: i for i, name in enumerate(data.names)}
    at = [index[name] for name in names]
    rows = np.concatenate([np.arange(data.start[c], data.start[c] + data.count[c]) for c in at])
    return class_set(jax.tree.map(lambda leaf: leaf[rows], data.x), data.count[at], names)


def _stacked(examples: Sequence[Any], length: int) -> np.ndarray:
    """Stack a list of examples."""
    shapes = {np.shape(example) for example in examples}
    if len(examples) != length or len(shapes) > 1:
        found = ", ".join(map(str, sorted(shapes, key=str)[:3]))
        raise ValueError(
            f"`x` is a list of {len(examples)} entries of shape {found}, and `y` has {length} labels. A list is one "
            "example per label, all of one shape: resize or pad them. For several arrays per example, pass a tuple or "
            "dict of arrays [M, ...]."
        )
    return np.stack([np.asarray(example) for example in examples])


def _check_labels(y: ArrayLike) -> np.ndarray:
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(
            f"`y` must have shape [M], one label per example, got {labels.shape}. "
            "Turn one-hot rows into integers with `y.argmax(-1)`."
        )
    if labels.size == 0:
        raise ValueError("`y` is empty: a data set needs at least one example.")
    if labels.dtype == object and all(isinstance(label, str) for label in labels):
        labels = labels.astype(str)
    if labels.dtype.kind not in "iubUS":
        raise ValueError(
            f"`y` must hold integers or strings, got dtype {labels.dtype}; class labels are not measured "
            "values. Cast with `y.astype(int)` if they are whole numbers."
        )
    if labels.dtype.kind == "i" and labels.min() < 0:
        where = int(labels.argmin())
        raise ValueError(
            f"`y[{where}]` is {labels[where]}, but labels must be >= 0. Drop unlabelled examples, or shift the labels."
        )
    return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels


def _check_leaf(name: str, leaf: np.ndarray, length: int) -> None:
    if leaf.ndim == 0 or len(leaf) != length:
        raise ValueError(
            f"`{name}` has shape {leaf.shape}, but `y` has {length} labels. "
            "Every array in `x` needs one leading row per label."
        )
    if leaf.dtype == object:
        raise ValueError(
            f"`{name}` has dtype object (rows of different shapes?). Resize or pad them to one shape and stack."
        )
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        finite = np.isfinite(leaf).reshape(length, -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"`{name}` has NaN or infinite values in {int((~finite).sum())} of {length} examples, first "
                f"in row {int(finite.argmin())}; they would turn every gradient into NaN. Drop or repair "
                "these rows."
            )


def _names(classes: np.ndarray, names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [str(label) for label in classes]
    if classes.dtype.kind == "U":
        raise ValueError("`names` goes with integer labels only, and `y` holds strings, which are names already.")
    if int(classes[-1]) >= len(names):
        raise ValueError(
            f"`names` has {len(names)} entries, but `y` holds the label {int(classes[-1])}: `names[label]` "
            "must exist. Give a name to every label from 0 to the largest."
        )
    return [names[int(label)] for label in classes]
