"""Mini-batches with global labels: what an ordinary classifier is trained on, for pre-training without episodes.

As in Chen et al., 2019, https://arxiv.org/abs/1904.04232

Letters: B examples of a mini-batch, C classes, M examples of the data set.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.types import Batch, ClassSet, Key, PyTree, Task

from ._episodes import check_data, check_rotate, gather, on_device, scale, turn
from ._layout import positive


def batches(data: ClassSet, *, batch_size: int, rotate: Literal["extra"] | None = None) -> "Batches":
    r"""A sampler of mini-batches whose labels are the classes of the whole data set, not of an episode.

    A mini-batch is a `Task` with nothing to adapt to: ``support`` is None, and ``query`` holds B examples, label
    ``c`` for class ``c`` of ``data``. Each example's class is uniform over the C classes and the example uniform
    within its class, independently of the others: small classes are seen as often as large ones. ``query.ways`` has
    length C, from which `baseline` and its relatives know how many classes there are. Train with
    ``tasks_per_step=1``, or with more for so many mini-batches whose BatchNorm statistics are their own.

    Args:
      data: classes to draw from; its arrays move to the device once, here.
      batch_size: examples of a mini-batch B.
      rotate: ``"extra"``: square images turned by 90, 180 and 270 degrees are further classes, 4 C in all, as in
        `episodes`; class ``c`` turned ``t`` times has label ``4 c + t``.

    Returns: a `Sampler` whose tasks have a ``query`` of B examples and no ``support``. Its ``draw`` returns `Rows`.

    Example:
      >>> images = np.zeros([12, 28, 28, 1], np.uint8)
      >>> data = ClassSet(images, start=np.array([0, 3, 7]), count=np.array([3, 4, 5]), names=("a", "b", "c"))
      >>> task = batches(data, batch_size=8)(jax.random.key(0))
      >>> task.query.x.shape, task.query.ways.shape
      ((8, 28, 28, 1), (3,))
    """
    size = positive("batch_size", batch_size)
    check_data(data)
    if rotate == "draw":
        raise ValueError('`rotate="draw"` has no meaning for global labels; use "extra" or None.')
    check_rotate(rotate, data.x)
    if np.min(data.count) < 1:
        empty = int(np.argmin(data.count))
        name = data.names[empty] if empty < len(data.names) else empty
        raise ValueError(f"Class {name!r} of `data` has no examples; drop such classes.")
    return Batches(*on_device(data), size, rotate, tuple(data.names))


class Rows(NamedTuple):
    """The random choices behind one mini-batch.

    Attributes:
      labels: int32 ``[B]``.
      rows: int32 ``[B]``, rows of the data set.
      turns: int32 ``[B]``, quarter turns counter-clockwise, or None without rotation.
    """

    labels: jax.Array
    rows: jax.Array
    turns: jax.Array | None


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["x", "start", "count"],
    meta_fields=["batch_size", "rotate"],
    drop_fields=["names"],
)
@dataclass(frozen=True, eq=False)
class Batches:
    """The sampler that `batches` makes; its leaves are the arrays of the data set, its shape is static."""

    x: PyTree = field(repr=False)
    start: jax.Array = field(repr=False)
    count: jax.Array = field(repr=False)
    batch_size: int
    rotate: Literal["extra"] | None
    names: tuple[str, ...] = field(default=(), repr=False)

    @property
    def num_classes(self) -> int:
        """How many labels there are."""
        return self.count.size * (4 if self.rotate else 1)

    def draw(self, key: Key) -> Rows:
        """Draws labels, and for each an example of its class."""
        k_labels, k_rows = jax.random.split(key)
        labels = jax.random.randint(k_labels, [self.batch_size], 0, self.num_classes, jnp.int32)
        classes, turns = (labels // 4, labels % 4) if self.rotate else (labels, None)
        rows = self.start[classes] + jax.random.randint(k_rows, [self.batch_size], 0, self.count[classes], jnp.int32)
        return Rows(labels, rows, turns)

    def fetch(self, indices: Rows) -> Task:
        """Gathers, turns and scales the examples of one mini-batch."""
        return self.finish(indices, gather(self.x, indices.rows))

    def finish(self, indices: Rows, x: PyTree) -> Task:
        """Turns and scales examples ``[B, ...]`` that were gathered."""
        if indices.turns is not None:
            x = jax.vmap(lambda image, turns: turn(image[None], turns)[0])(x, indices.turns)
        ways = jnp.ones([self.num_classes], bool)
        return Task(None, Batch(jax.tree.map(scale, x), indices.labels, ways=ways))

    def __call__(self, key: Key) -> Task:
        """Makes the mini-batch of ``key``."""
        return self.fetch(self.draw(key))
