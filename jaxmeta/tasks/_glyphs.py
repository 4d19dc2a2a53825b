"""Few-shot classification without files: an endless family of hand-drawn-like characters, made on the device.

In the spirit of the characters of Lake, Salakhutdinov and Tenenbaum, 2015, https://doi.org/10.1126/science.aab3050.

Letters: W ways, K shots, Q queries per class.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Key, Task

from . import _pen
from ._checks import at_least_zero, positive, span
from ._classes import Classes
from ._layout import Layout, Slots, layout
from ._subsets import choose

SPLITS = ("train", "val", "test")
CLASSES = 2**29  # per split


def glyphs(
    *,
    num_ways: int | tuple[int, int] = 5,
    num_shots: int | tuple[int, int] = 1,
    num_queries: int = 5,
    split: Literal["train", "val", "test"] = "train",
    size: int = 28,
    num_strokes: int | tuple[int, int] = (2, 4),
    jitter: float = 1.0,
    seed: int = 0,
) -> "Glyphs":
    """Return a sampler of N-way K-shot tasks over invented characters, in [0, 1] with ink = 1.

    The number of a character determines its pen strokes. A drawing of it repeats the strokes with noise, leaned,
    stretched, moved and with another width of the pen. Each split has half a billion characters of its own and each
    character four billion drawings. At the defaults the nearest neighbour on pixels scores 43 % (5-way 1-shot).

    Args:
      num_ways: classes per task W, or a range (smallest, largest) of them as in `episodes`.
      num_shots: support drawings per class K, or a range of them.
      num_queries: query drawings per class Q.
      split: "train", "val" or "test": disjoint sets of characters.
      size: pixels per side.
      num_strokes: strokes per character, or a range of them; characters with more strokes are easier to tell apart.
      jitter: the scale of the differences between drawings of one character; 0 repeats one drawing.
      seed: the seed of the family; another seed gives other characters.

    Returns:
      A `Sampler` whose tasks have images ``x`` of float32 ``[W K, size, size, 1]`` and ``[W Q, size, size, 1]``; its
      ``draw`` returns `Drawings`.

    Raises:
      TypeError, ValueError: for a size below 1, a range that does not rise, an unknown split, or a ``jitter`` that is
        negative or not finite.

    Example:
      >>> task = glyphs(num_shots=1, num_queries=3)(jax.random.key(0))
      >>> task.support.x.shape, task.query.x.shape
      ((5, 28, 28, 1), (15, 28, 28, 1))
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}.")
    return Glyphs(
        key=jax.random.key(seed),
        first_class=jnp.int32(SPLITS.index(split) * CLASSES),
        jitter=jnp.float32(at_least_zero("jitter", jitter)),
        layout=layout(num_ways, num_shots, num_queries),
        size=positive("size", size),
        num_strokes=span("num_strokes", num_strokes),
    )


class Drawings(NamedTuple):
    """The random choices behind one task.

    Attributes:
      classes: int32 ``[W]``, the numbers of the characters.
      drawings: uint32 ``[W, K + Q]``, a number for each drawing of a character, the shots first.
      slots: which ways and shots are present, or None where their numbers are fixed.
    """

    classes: jax.Array
    drawings: jax.Array
    slots: Slots | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Glyphs:
    """The sampler that `glyphs` returns; splits and seeds are leaves, so they share compiled functions."""

    key: Key
    first_class: jax.Array
    jitter: jax.Array
    layout: Layout = field(metadata={"static": True})
    size: int = field(metadata={"static": True})
    num_strokes: tuple[int, int] = field(metadata={"static": True})

    def draw(self, key: Key) -> Drawings:
        """Draw characters, and a number for each of their drawings."""
        k_classes, k_drawings, k_slots = jax.random.split(key, 3)
        classes = self.first_class + choose(k_classes, CLASSES, self.layout.shape[0])
        drawings = jax.random.bits(k_drawings, self.layout.shape, jnp.uint32)
        slots = self.layout.draw(k_slots)
        classes, drawings = self.layout.pad(slots, (classes, drawings))
        return Drawings(classes, drawings, slots)

    def fetch(self, indices: Drawings) -> Task:
        """Render the drawings."""
        x = jax.vmap(self._draw_class)(indices.classes, indices.drawings)
        return self.layout.task(indices.slots, x[..., None])

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
        return self.fetch(self.draw(key))

    def classes(self) -> Classes:
        """Return the layout; the characters are endless and have no names."""
        return Classes(self.layout, None, ())

    def with_layout(self, layout: Layout) -> "Glyphs":
        """Return a sampler of episodes of another layout from the same characters."""
        return replace(self, layout=layout)

    def class_indices(self, indices: Drawings) -> jax.Array:
        """Return the number of each way's character."""
        return indices.classes

    def _draw_class(self, number: jax.Array, drawings: jax.Array) -> jax.Array:
        key = jax.random.fold_in(self.key, number)
        strokes = _pen.invent(key, self.num_strokes)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, drawings)
        return jax.vmap(lambda key: _pen.draw(key, strokes, self.jitter, self.size))(keys)
