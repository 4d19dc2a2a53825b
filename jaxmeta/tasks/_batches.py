"""Mini-batches with global labels, as an ordinary classifier is trained on, for pre-training without episodes.

Chen et al., 2019, https://arxiv.org/abs/1904.04232.

Letters: B examples of a mini-batch, C classes, M examples of the data set.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.rows import scale_bytes
from jaxmeta.types import Batch, ClassSet, Key, PyTree, Task

from ._checks import positive
from ._episodes import check_data, check_rotate, gather, on_device, turn


def batches(data: ClassSet, *, batch_size: int, rotate: Literal["extra"] | None = None) -> "Batches":
    r"""Return a sampler of mini-batches whose labels are the classes of the whole data set, not of an episode.

    A mini-batch is a `Task` with nothing to adapt to: ``support`` is None, and ``query`` holds B examples, label
    ``c`` for class ``c`` of ``data``. Each example's class is uniform over the C classes and the example uniform
    within its class, independently of the others: small classes are drawn as often as large ones. ``query.ways`` has
    length C, which tells `baseline` and similar learners the number of classes. Train with ``tasks_per_step=1``; a
    larger number gives as many mini-batches, each with its own BatchNorm statistics.

    Args:
      data: classes to draw from; its arrays move to the device once, in this call.
      batch_size: the number of examples B in a mini-batch.
      rotate: ``"extra"``: square images turned by 90, 180 and 270 degrees are further classes, 4 C in all, as in
        `episodes`; class ``c`` turned ``t`` times has label ``4 c + t``.

    Returns:
      A `Sampler` whose tasks have a ``query`` of B examples and no ``support``. Its ``draw`` returns `Rows`.

    Raises:
      TypeError: if ``data`` is no `ClassSet`, or ``batch_size`` no whole number.
      ValueError: if ``batch_size`` is below 1, a class is empty, ``data`` is inconsistent, its values are not finite,
        or ``rotate`` does not fit it.

    Example:
      >>> images = np.zeros([12, 28, 28, 1], np.uint8)
      >>> data = ClassSet(images, start=np.array([0, 3, 7]), count=np.array([3, 4, 5]), names=("a", "b", "c"))
      >>> task = batches(data, batch_size=8)(jax.random.key(0))
      >>> task.query.x.shape, task.query.ways.shape
      ((8, 28, 28, 1), (3,))
    """
    size = positive("batch_size", batch_size)
    check_data(data)
    check_rotate(rotate, data.x, ("extra",))
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
    """The sampler that `batches` returns; its leaves are the arrays of the data set, and its shape is static."""

    x: PyTree = field(repr=False)
    start: jax.Array = field(repr=False)
    count: jax.Array = field(repr=False)
    batch_size: int
    rotate: Literal["extra"] | None
    names: tuple[str, ...] = field(default=(), repr=False)

    @property
    def num_classes(self) -> int:
        """The number of labels."""
        return self.count.size * (4 if self.rotate else 1)

    def draw(self, key: Key) -> Rows:
        """Draw labels, and an example of the class for each."""
        k_labels, k_rows = jax.random.split(key)
        labels = jax.random.randint(k_labels, [self.batch_size], 0, self.num_classes, jnp.int32)
        classes, turns = (labels // 4, labels % 4) if self.rotate else (labels, None)
        rows = self.start[classes] + jax.random.randint(k_rows, [self.batch_size], 0, self.count[classes], jnp.int32)
        return Rows(labels, rows, turns)

    def fetch(self, indices: Rows) -> Task:
        """Gather, turn and scale the examples of one mini-batch."""
        return self.finish(indices, gather(self.x, indices.rows))

    def finish(self, indices: Rows, x: PyTree) -> Task:
        """Turn and scale gathered examples ``[B, ...]``."""
        if indices.turns is not None:
            x = jax.vmap(lambda image, turns: turn(image[None], turns)[0])(x, indices.turns)
        ways = jnp.ones([self.num_classes], bool)
        return Task(None, Batch(jax.tree.map(scale_bytes, x), indices.labels, ways=ways))

    def __call__(self, key: Key) -> Task:
        """Return the mini-batch of ``key``."""
        return self.fetch(self.draw(key))
