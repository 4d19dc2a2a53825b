"""The same tasks from data that stay on the host, for class sets that do not fit on the device or into memory.

Letters: T tasks, M examples of the data set.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from jaxmeta.types import ClassSet, Key, PyTree, Task
from jaxmeta.validation import check_integers

from ._batches import Batches, batches
from ._episodes import Episodes, check_type, episodes
from ._layout import positive
from ._mapped import take


def streamed(
    data: ClassSet, make: Callable[..., Any] = episodes, *, num_threads: int = 4, **options: Any
) -> "Streamed":
    """A sampler with the very tasks of ``make(data, **options)``, whose arrays stay where they are on the host.

    Only what a task needs is looked up and sent to the device, as it is stored: uint8 images become float32 there,
    and are turned there. In `fit` the tasks of the coming steps are drawn, looked up and sent by threads (grain's;
    `pip install "jaxmeta[stream]"`) while the device computes: see `feed`. Anywhere else, in `evaluate` or in a
    program of your own, the program asks the host for them when it needs them.

    Args:
      data: classes to draw from. Its arrays are NumPy's, ``np.memmap`` for what is larger than memory, or anything
        with ``shape``, ``dtype`` and indexing by rising row numbers, such as a data set of an HDF5 file, which is
        read by rows and never whole. Whether floats are finite is not checked.
      make: `episodes` or `batches`.
      num_threads: threads that prepare the tasks of `fit`, each those of one step at a time; more hide a slow disk.
        Twice as many steps' tasks lie ready on the device. The tasks do not depend on it.
      **options: of ``make``.

    Returns: a `Sampler`; its ``draw`` returns what that of ``make`` does.

    Raises:
      ValueError: if ``make`` is another function, or from it; for ``num_threads`` that is not positive.
      TypeError: if ``data`` is no `ClassSet`, or an array of it has no shape, dtype or rows.

    Example:
      >>> images = np.zeros([12, 28, 28, 1], np.uint8)
      >>> data = ClassSet(images, start=np.array([0, 3, 7]), count=np.array([3, 4, 5]), names=("a", "b", "c"))
      >>> sampler = streamed(data, num_ways=2, num_shots=1, num_queries=2, rotate="extra")
      >>> sampler(jax.random.key(0)).query.x.shape
      (4, 28, 28, 1)
      >>> streamed(data, batches, batch_size=8)(jax.random.key(0)).query.y.shape
      (8,)
    """
    if make not in (episodes, batches):
        raise ValueError(
            f"`make` must be `tasks.episodes` or `tasks.batches`, which draw from a ClassSet; got {make!r}."
        )
    check_type(data)
    x = jax.tree.map(_on_host, data.x)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jax.dtypes.canonicalize_dtype(a.dtype)), x)
    sampler = make(data._replace(x=shapes), **options)
    return Streamed(replace(sampler, x=None), Shelf(x, shapes), positive("num_threads", num_threads))


@dataclass(frozen=True, eq=False)
class Shelf:
    """Arrays on the host, and the shapes and types that they have on a device.

    Compared by identity, so that a compiled program can refer to them.
    """

    x: PyTree = field(repr=False)
    shapes: PyTree

    def take(self, rows: Any) -> PyTree:
        """Rows ``[...]`` of every array, in memory."""
        rows = np.asarray(rows)
        x = jax.tree.map(lambda a: take(a, rows), self.x)
        check_integers("data.x", x)
        return jax.tree.map(lambda a, to: a.astype(to.dtype, copy=False), x, self.shapes)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Streamed:
    """The sampler that `streamed` makes: another without its data, and the shelf where they are."""

    sampler: Episodes | Batches
    shelf: Shelf = field(metadata={"static": True})
    num_threads: int = field(metadata={"static": True})

    def draw(self, key: Key) -> Any:
        """Draws the choices behind one task."""
        return self.sampler.draw(key)

    def take(self, indices: Any) -> PyTree:
        """Looks up the examples of one task or of ``[T]``, as they are stored; outside of compiled functions."""
        return self.shelf.take(indices.rows)

    def finish(self, indices: Any, x: PyTree) -> Task:
        """Turns and scales the examples of one task."""
        return self.sampler.finish(indices, x)

    def fetch(self, indices: Any) -> Task:
        """Looks up, turns and scales the examples of one task; a compiled function calls back to the host."""
        shape = lambda a: jax.ShapeDtypeStruct((*indices.rows.shape, *a.shape[1:]), a.dtype)
        shapes = jax.tree.map(shape, self.shelf.shapes)
        return self.finish(indices, jax.pure_callback(self.shelf.take, shapes, indices.rows, vmap_method="expand_dims"))

    def __call__(self, key: Key) -> Task:
        """Makes the task of ``key``."""
        return self.fetch(self.draw(key))


def _on_host(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray | jax.Array):
        return np.asarray(leaf)
    if all(hasattr(leaf, name) for name in ("shape", "dtype", "__getitem__")):
        return leaf
    raise TypeError(
        f"`data.x` holds {type(leaf).__name__}, but what is streamed needs `shape`, `dtype` and rows. "
        "Pass NumPy arrays, `np.memmap` for those larger than memory."
    )
