"""N-way K-shot episodes from the classes of a data set.

The protocol of Vinyals et al., 2016, https://arxiv.org/abs/1606.04080, where turned Omniglot characters are new
classes.

Letters: W ways, K shots, Q queries per class, C classes, M examples of the data set.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.rows import scale_bytes
from jaxmeta.types import ClassSet, Key, PyTree, Task
from jaxmeta.validation import check_integers

from ._classes import Classes
from ._layout import Layout, Slots, layout
from ._subsets import choose

Rotate = Literal["extra", "draw"] | None


def episodes(
    data: ClassSet,
    *,
    num_ways: int | tuple[int, int],
    num_shots: int | tuple[int, int],
    num_queries: int,
    rotate: Rotate = None,
) -> "Episodes":
    r"""Return a sampler of N-way K-shot tasks: W distinct classes with K + Q distinct examples each.

    Classes and examples are uniform without replacement, each class over its own count. The first K examples are the
    support set and the other Q the query set, so the two sets share no example. Class ``w`` of a task has label ``w``
    and its rows follow those of class ``w - 1``. Images of dtype uint8 become float32 in [0, 1] when a task is
    fetched; all other data stay unchanged. A task depends only on its key: the same keys give the same tasks.

    A pair for ``num_ways`` or ``num_shots`` is a range, ends included, from which each task draws uniformly. Shapes
    are those of the largest numbers. Absent places repeat examples of the same task (an absent way repeats way 0 with
    its label) and have ``weight`` 0 and ``ways`` False.

    Args:
      data: classes to draw from; its arrays move to the device once, in this call.
      num_ways: classes per task W, or a range of them.
      num_shots: support examples per class K, or a range of them.
      num_queries: query examples per class Q.
      rotate: for square images ``[M, H, H]`` or ``[M, H, H, channels]``, turn each class by a
        multiple of 90 degrees. ``"extra"``: turned characters are further classes, 4 C in all, the protocol of Vinyals
        et al. and of prototypical networks. ``"draw"``: the W characters are distinct and each draws a turn in every
        task, as in the code of MAML. None: images stay upright.

    Returns:
      A `Sampler` whose tasks have ``support`` and ``query`` batches of W K and W Q examples. Its ``draw`` returns an
      `Episode`: the classes, rows and quarter turns of a task.

    Raises:
      TypeError: if ``data`` is no `ClassSet`, or a size is no whole number.
      ValueError: if a size is below 1, the classes are too few or too small, ``data`` is inconsistent, its values are
        not finite, or ``rotate`` does not fit it.

    Example:
      >>> images = np.zeros([12, 28, 28, 1], np.uint8)
      >>> data = ClassSet(images, start=np.array([0, 3, 7]), count=np.array([3, 4, 5]), names=("a", "b", "c"))
      >>> sampler = episodes(data, num_ways=2, num_shots=1, num_queries=2, rotate="extra")
      >>> task = sampler(jax.random.key(0))
      >>> task.support.x.shape, task.query.x.shape
      ((2, 28, 28, 1), (4, 28, 28, 1))
      >>> task.query.y
      Array([0, 0, 1, 1], dtype=int32)
    """
    shape = layout(num_ways, num_shots, num_queries)
    check_data(data)
    check_rotate(rotate, data.x)
    _check_sizes(shape, _classes(shape, data.count, rotate, tuple(data.names)))
    return Episodes(*on_device(data), shape, rotate, tuple(data.names))


class Episode(NamedTuple):
    """The random choices behind one task.

    Attributes:
      classes: int32 ``[W]``, the classes in the order of their labels, as numbered in the `ClassSet`.
      rows: int32 ``[W, K + Q]``, rows of the data set, the shots first.
      turns: int32 ``[W]``, quarter turns counter-clockwise, or None without rotation.
      slots: which ways and shots are present, or None where their numbers are fixed.
    """

    classes: jax.Array
    rows: jax.Array
    turns: jax.Array | None
    slots: Slots | None


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["x", "start", "count"],
    meta_fields=["layout", "rotate"],
    drop_fields=["names"],
)
@dataclass(frozen=True, eq=False)
class Episodes:
    """The sampler that `episodes` returns; its leaves are the arrays of the data set, and its layout is static.

    The `names` of the classes are for pictures and messages. Compiled functions do not see them, so data with other
    names use the same program.
    """

    x: PyTree = field(repr=False)
    start: jax.Array = field(repr=False)
    count: jax.Array = field(repr=False)
    layout: Layout
    rotate: Rotate
    names: tuple[str, ...] = field(default=(), repr=False)

    def draw(self, key: Key) -> Episode:
        """Draw the classes, rows and turns of one task."""
        k_classes, k_rows, k_turns, k_slots = jax.random.split(key, 4)
        ways, examples = self.layout.shape
        classes, turns = self._draw_classes(k_classes, k_turns)
        rows = jax.vmap(choose, [0, 0, None])(jax.random.split(k_rows, ways), self.count[classes], examples)
        rows = self.start[classes][:, None] + rows
        slots = self.layout.draw(k_slots)
        classes, rows, turns = self.layout.pad(slots, (classes, rows, turns))
        return Episode(classes, rows, turns, slots)

    def fetch(self, indices: Episode) -> Task:
        """Gather, turn and scale the examples of one task."""
        return self.finish(indices, gather(self.x, indices.rows))

    def finish(self, indices: Episode, x: PyTree) -> Task:
        """Turn and scale gathered examples ``[W, K + Q, ...]``."""
        if indices.turns is not None:
            x = jax.vmap(turn)(x, indices.turns)
        return self.layout.task(indices.slots, jax.tree.map(scale_bytes, x))

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
        return self.fetch(self.draw(key))

    def classes(self) -> Classes:
        """Return the classes, turned ones included where ``rotate`` is ``"extra"``."""
        return _classes(self.layout, self.count, self.rotate, self.names)

    def with_layout(self, layout: Layout) -> "Episodes":
        """Return a sampler of episodes of another layout from the same classes.

        Raises:
          ValueError: if there are too few classes, or a class has too few examples.
        """
        _check_sizes(layout, self.classes())
        return replace(self, layout=layout)

    def class_indices(self, indices: Episode) -> jax.Array:
        """Return the class of each way among `classes`: ``4 c + t`` for class ``c`` turned ``t`` times."""
        if self.rotate != "extra" or indices.turns is None:
            return indices.classes
        return 4 * indices.classes + indices.turns

    def _draw_classes(self, k_classes: Key, k_turns: Key) -> tuple[jax.Array, jax.Array | None]:
        ways, total = self.layout.shape[0], self.count.size
        if self.rotate == "extra":
            turned = choose(k_classes, 4 * total, ways)
            return turned // 4, turned % 4
        turns = jax.random.randint(k_turns, [ways], 0, 4, jnp.int32) if self.rotate == "draw" else None
        return choose(k_classes, total, ways), turns


def on_device(data: ClassSet) -> tuple[PyTree, jax.Array, jax.Array]:
    """Return examples, starts and counts on the device; shapes that stand for data on the host stay as they are."""
    x, start, count = data.x, jnp.asarray(np.int32(data.start)), jnp.asarray(np.int32(data.count))
    if not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(x)):
        check_integers("data.x", x)
        x = jax.tree.map(jnp.asarray, x)
        check_finite(x)
    return x, start, count


def gather(x: PyTree, rows: jax.Array) -> PyTree:
    """Return the given rows of every array."""
    return jax.tree.map(lambda a: jnp.take(a, rows, axis=0, mode="clip"), x)


def turn(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Turn the images of one class, ``[N, H, H, ...]``, by ``turns`` times 90 degrees counter-clockwise."""
    images = jnp.where(turns % 2 == 1, jnp.rot90(images, 1, (1, 2)), images)
    return jnp.where(turns >= 2, jnp.rot90(images, 2, (1, 2)), images)


def check_type(data: Any) -> None:
    """Raise a TypeError if ``data`` is no `ClassSet`."""
    if not isinstance(data, ClassSet):
        raise TypeError(
            f"`data` must be a ClassSet, got {type(data).__name__}; `jaxmeta.datasets` makes them, "
            "from arrays for instance with `from_arrays`."
        )


def check_data(data: ClassSet) -> None:
    """Raise an error if ``data`` has no classes, or its arrays do not fit its classes."""
    check_type(data)
    if len(data.count) == 0:
        raise ValueError("`data` has no classes; was the folder or the split that it came from empty?")
    if len(data.start) != len(data.count):
        raise ValueError(f"`data` has {len(data.start)} starts but {len(data.count)} counts; each class needs both.")
    sizes = {leaf.shape[0] if np.ndim(leaf) else 0 for leaf in jax.tree.leaves(data.x)}
    if len(sizes) != 1:
        raise ValueError(f"`data.x` must hold arrays with the same number of rows, got {sorted(sizes)}.")
    end = int(np.max(np.add(data.start, data.count)))
    if end > min(sizes) or np.min(data.start) < 0:
        raise ValueError(f"`data` has {min(sizes)} rows but its classes span {np.min(data.start)} to {end}.")


def check_finite(x: PyTree) -> None:
    """Raise a ValueError with the first row that holds NaN or infinity."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(x):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not bool(jnp.isfinite(leaf).all()):
            row = int(jnp.argmin(jnp.isfinite(leaf.reshape(len(leaf), -1)).all(1)))
            name = "x" + jax.tree_util.keystr(path)
            raise ValueError(f"`data.{name}` has NaN or infinity, first in row {row}; drop such examples.")


def check_rotate(rotate: Any, x: PyTree, choices: tuple[str, ...] = ("extra", "draw")) -> None:
    """Raise a ValueError if ``rotate`` is none of the choices, or the examples are no square images."""
    if rotate is not None and rotate not in choices:
        known = ", ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"`rotate` must be {known} or None, got {rotate!r}.")
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(x)]
    square = len(shapes) == 1 and len(shapes[0]) in (3, 4) and shapes[0][1] == shapes[0][2]
    if rotate and not square:
        raise ValueError(
            f"`rotate={rotate!r}` turns square images [M, H, H] or [M, H, H, channels], but `data.x` is "
            f"{', '.join(map(str, shapes))}; crop the images to squares or leave `rotate` out."
        )


def _classes(layout: Layout, count: Any, rotate: Rotate, names: tuple[str, ...]) -> Classes:
    """Return the classes with ``count`` examples each; with ``"extra"`` the turns of a class follow one another."""
    if rotate != "extra":
        return Classes(layout, np.asarray(count), names)
    turned = ("", *(f", turned {degrees}°" for degrees in (90, 180, 270)))
    return Classes(layout, np.repeat(np.asarray(count), 4), tuple(name + turn for name in names for turn in turned))


def _check_sizes(layout: Layout, classes: Classes) -> None:
    """Raise a ValueError if there are too few classes, or a class has too few examples."""
    ways, count = layout.num_ways[1], np.asarray(classes.count)
    if ways > len(count):
        raise ValueError(f"`num_ways` is {ways} but `data` has {len(count)} classes; ask for fewer ways.")
    shots, queries, smallest = layout.num_shots[1], layout.num_queries, int(np.argmin(count))
    if shots + queries > count[smallest]:
        name = classes.names[smallest] if smallest < len(classes.names) else smallest
        raise ValueError(
            f"`num_shots` + `num_queries` is {shots} + {queries} = {shots + queries} but class {name!r} has "
            f"only {count[smallest]} examples, and support and query never share one; ask for fewer, or drop such "
            "classes from `data`."
        )
