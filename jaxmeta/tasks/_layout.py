"""The layout of a classification episode: ways, shots, labels and padding.

Letters: W ways, K shots (support examples per class), Q queries per class. Where ways and shots vary from task to
task, W and K are the largest numbers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, PyTree, Task

from ._checks import positive, span


class Slots(NamedTuple):
    """The class and the example in each place of an episode; absent places repeat number 0.

    Attributes:
      way: int32 ``[W]``: ``w`` where way ``w`` is present, else 0.
      example: int32 ``[K + Q]``: ``i`` where example ``i`` is present, else 0; queries are always present.
    """

    way: jax.Array
    example: jax.Array

    def ways(self) -> jax.Array:
        """Return which ways are present, bool ``[W]``."""
        return self.way == jnp.arange(self.way.size, dtype=jnp.int32)

    def weight(self) -> jax.Array:
        """Return 1 for an example that is present and 0 for padding, float32 ``[W, K + Q]``."""
        example = self.example == jnp.arange(self.example.size, dtype=jnp.int32)
        return (self.ways()[:, None] & example[None, :]).astype(jnp.float32)


class Layout(NamedTuple):
    """The static layout of an episode.

    Attributes:
      num_ways: the fewest and the most classes of a task.
      num_shots: the fewest and the most support examples per class.
      num_queries: query examples per class.
    """

    num_ways: tuple[int, int]
    num_shots: tuple[int, int]
    num_queries: int

    @property
    def shape(self) -> tuple[int, int]:
        """The number of classes and of examples per class that a task needs, ``(W, K + Q)``."""
        return self.num_ways[1], self.num_shots[1] + self.num_queries

    def draw(self, key: Key) -> Slots | None:
        """Draw the numbers of ways and shots of a task, uniformly; return None where both are fixed."""
        if self.num_ways[0] == self.num_ways[1] and self.num_shots[0] == self.num_shots[1]:
            return None
        k_ways, k_shots = jax.random.split(key)
        ways, shots = _uniform(k_ways, self.num_ways), _uniform(k_shots, self.num_shots)
        way, example = (jnp.arange(n, dtype=jnp.int32) for n in self.shape)
        absent = (example >= shots) & (example < self.num_shots[1])
        return Slots(jnp.where(way < ways, way, 0), jnp.where(absent, 0, example))

    def pad(self, slots: Slots | None, indices: PyTree) -> PyTree:
        """Fill absent places of ``indices``, arrays ``[W]`` or ``[W, K + Q]``, with repeated ones."""
        if slots is None:
            return indices
        pad = lambda a: a[slots.way] if a.ndim == 1 else a[slots.way[:, None], slots.example[None, :]]
        return jax.tree.map(pad, indices)

    def task(self, slots: Slots | None, x: PyTree) -> Task:
        """Label examples ``[W, K + Q, ...]`` and split them into K support and Q query rows per way."""
        ways, shots = self.num_ways[1], self.num_shots[1]
        label = jnp.arange(ways, dtype=jnp.int32) if slots is None else slots.way
        present = jnp.ones([ways], bool) if slots is None else slots.ways()
        weight = None if slots is None else slots.weight()
        rows = x, jnp.broadcast_to(label[:, None], self.shape), weight

        def batch(part: slice) -> Batch:
            flat = lambda a: a[:, part].reshape(-1, *a.shape[2:])
            return Batch(*jax.tree.map(flat, rows), ways=present)

        return Task(batch(slice(shots)), batch(slice(shots, None)))


def layout(num_ways: int | tuple[int, int], num_shots: int | tuple[int, int], num_queries: int) -> Layout:
    """Check the three numbers of an episode and return its layout; a single number means a range of one.

    Raises:
      TypeError, ValueError: if a number is not a positive whole number, or a range does not rise.

    Example:
      >>> layout((2, 5), 1, 15).shape
      (5, 16)
    """
    ways, shots = span("num_ways", num_ways), span("num_shots", num_shots)
    return Layout(ways, shots, positive("num_queries", num_queries))


def _uniform(key: Key, bounds: tuple[int, int]) -> jax.Array:
    """Draw an int32 scalar from a range with both ends included."""
    return jax.random.randint(key, [], bounds[0], bounds[1] + 1, jnp.int32)
