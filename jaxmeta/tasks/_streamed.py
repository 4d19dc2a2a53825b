"""Tasks from data that stay on the host, for class sets that do not fit on the device or into memory.

Letters: T tasks, M examples of the data set.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from jaxmeta.types import ClassSet, Key, PyTree, Task
from jaxmeta.validation import check_integers

from ._batches import batches
from ._checks import positive
from ._classes import Classes, classes_of
from ._episodes import check_type, episodes
from ._layout import Layout
from ._mapped import take


def streamed(
    data: ClassSet, make: Callable[..., Any] = episodes, *, num_threads: int = 4, **options: Any
) -> "Streamed":
    """Return a sampler with the same tasks as ``make(data, **options)`` whose arrays stay on the host.

    Only the examples of a task are read and sent to the device, with their stored dtype; the device converts uint8
    images to float32 and turns them. In `fit`, threads (grain's; `pip install "jaxmeta[stream]"`) draw, read and send
    the tasks of the coming steps while the device computes: see `feed`. Elsewhere, in `evaluate` or in your own
    program, the compiled function calls back to the host for the examples.

    Args:
      data: classes to draw from. Its arrays are NumPy's, ``np.memmap`` for what is larger than memory, or anything
        with ``shape``, ``dtype`` and indexing by rising row numbers, such as a data set of an HDF5 file, which is
        read by rows and never whole. Floats are not checked for NaN or infinity.
      make: `episodes` or `batches`.
      num_threads: threads that prepare the tasks of `fit`, one step each at a time; more threads hide a slow disk. The
        device holds the tasks of at most twice as many steps. The tasks do not depend on this number.
      **options: the options of ``make``.

    Returns:
      A `Sampler`; its ``draw`` returns the same choices as that of ``make``.

    Raises:
      ValueError: if ``make`` is another function, if it refuses its options, or if ``num_threads`` is not positive.
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
    threads, sampler = positive("num_threads", num_threads), make(data._replace(x=shapes), **options)
    return Streamed(replace(sampler, x=None), Shelf(x, shapes), threads)


@dataclass(frozen=True, eq=False)
class Shelf:
    """Arrays on the host, with their shapes and dtypes on a device.

    Shelves are compared by identity, so that a compiled program can refer to one.
    """

    x: PyTree = field(repr=False)
    shapes: PyTree

    def take(self, rows: Any) -> PyTree:
        """Read rows ``[...]`` of every array into memory."""
        rows = np.asarray(rows)
        x = jax.tree.map(lambda a: take(a, rows), self.x)
        check_integers("data.x", x)
        return jax.tree.map(lambda a, to: a.astype(to.dtype, copy=False), x, self.shapes)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Streamed:
    """The sampler that `streamed` returns: a sampler without its data, and the shelf that holds them."""

    sampler: Any  # `Episodes` or `Batches`
    shelf: Shelf = field(metadata={"static": True})
    num_threads: int = field(metadata={"static": True})

    def draw(self, key: Key) -> Any:
        """Draw the random choices behind one task."""
        return self.sampler.draw(key)

    def take(self, indices: Any) -> PyTree:
        """Read the examples of one task, or of ``[T]`` tasks, with their stored dtype; outside compiled functions."""
        return self.shelf.take(indices.rows)

    def finish(self, indices: Any, x: PyTree) -> Task:
        """Turn and scale the examples of one task."""
        return self.sampler.finish(indices, x)

    def fetch(self, indices: Any) -> Task:
        """Read, turn and scale the examples of one task; a compiled function calls back to the host."""
        shape = lambda a: jax.ShapeDtypeStruct((*indices.rows.shape, *a.shape[1:]), a.dtype)
        shapes = jax.tree.map(shape, self.shelf.shapes)
        return self.finish(indices, jax.pure_callback(self.shelf.take, shapes, indices.rows, vmap_method="expand_dims"))

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
        return self.fetch(self.draw(key))

    def classes(self) -> Classes | None:
        """Return the classes of the sampler within."""
        return classes_of(self.sampler)

    def with_layout(self, layout: Layout) -> "Streamed":
        """Return a sampler of streamed episodes of another layout."""
        return replace(self, sampler=self.sampler.with_layout(layout))

    def class_indices(self, indices: Any) -> jax.Array:
        """Return the class of each way."""
        return self.sampler.class_indices(indices)


def _on_host(leaf: Any) -> Any:
    """Return an array on the host, or an object that is indexed lazily as it is."""
    if isinstance(leaf, np.ndarray | jax.Array):
        return np.asarray(leaf)
    if all(hasattr(leaf, name) for name in ("shape", "dtype", "__getitem__")):
        return leaf
    raise TypeError(
        f"`data.x` holds {type(leaf).__name__}, but `streamed` needs arrays with `shape`, `dtype` and rows. "
        "Pass NumPy arrays, `np.memmap` for those larger than memory."
    )
