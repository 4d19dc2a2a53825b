"""What samplers of classification episodes share: ways, shots, labels and padding.

Letters: W ways, K shots (support examples per class), Q queries per class; where ways and shots vary from
task to task, W and K are the largest.
"""

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, PyTree, Task


class Slots(NamedTuple):
    """Which drawn class and example fills each place of an episode; absent places repeat number 0.

    Attributes:
      way: int32 ``[W]``: ``w`` where way ``w`` is present, else 0.
      example: int32 ``[K + Q]``: ``i`` where example ``i`` is present, else 0; queries always are.
    """

    way: jax.Array
    example: jax.Array

    def ways(self) -> jax.Array:
        """Which ways are present, bool ``[W]``."""
        return self.way == jnp.arange(self.way.size, dtype=jnp.int32)

    def weight(self) -> jax.Array:
        """1 for an example that is present, 0 for padding, float32 ``[W, K + Q]``."""
        example = self.example == jnp.arange(self.example.size, dtype=jnp.int32)
        return (self.ways()[:, None] & example[None, :]).astype(jnp.float32)


class Layout(NamedTuple):
    """The static side of an episode: ranges of ways and shots, ends included, and queries per class."""

    num_ways: tuple[int, int]
    num_shots: tuple[int, int]
    num_queries: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(W, K + Q)``, the examples that a task needs."""
        return self.num_ways[1], self.num_shots[1] + self.num_queries

    def draw(self, key: Key) -> Slots | None:
        """Draws how many ways and shots a task has, uniformly; None where both are fixed."""
        if self.num_ways[0] == self.num_ways[1] and self.num_shots[0] == self.num_shots[1]:
            return None
        k_ways, k_shots = jax.random.split(key)
        ways, shots = _uniform(k_ways, self.num_ways), _uniform(k_shots, self.num_shots)
        way, example = (jnp.arange(n, dtype=jnp.int32) for n in self.shape)
        absent = (example >= shots) & (example < self.num_shots[1])
        return Slots(jnp.where(way < ways, way, 0), jnp.where(absent, 0, example))

    def pad(self, slots: Slots | None, indices: PyTree) -> PyTree:
        """Fills absent places of ``indices``, arrays ``[W]`` or ``[W, K + Q]``, with repeated ones."""
        if slots is None:
            return indices
        pad = lambda a: a[slots.way] if a.ndim == 1 else a[slots.way[:, None], slots.example[None, :]]
        return jax.tree.map(pad, indices)

    def task(self, slots: Slots | None, x: PyTree) -> Task:
        """Labels examples ``[W, K + Q, ...]`` and splits them: K support and Q query rows per way."""
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
    """Checks the three numbers that every episode has; a single number means a range of one.

    Example:
      >>> layout((2, 5), 1, 15).shape
      (5, 16)
    """
    ways, shots = span("num_ways", num_ways), span("num_shots", num_shots)
    return Layout(ways, shots, positive("num_queries", num_queries))


def positive(name: str, value: Any) -> int:
    """``value`` as a positive integer, or an error that names the argument."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be a whole number, got {value!r} ({type(value).__name__}).") from None
    if number < 1 or isinstance(value, bool):
        raise ValueError(f"`{name}` must be a positive whole number, got {value!r}.")
    return number


def span(name: str, value: Any) -> tuple[int, int]:
    """``value`` as a range of positive integers, a number as a range of one, or an error with the name."""
    if not isinstance(value, tuple | list):
        number = positive(name, value)
        return number, number
    if len(value) != 2:
        raise ValueError(f"`{name}` must be a number or a pair (smallest, largest), got {value!r}.")
    low, high = positive(name, value[0]), positive(name, value[1])
    if low > high:
        raise ValueError(f"`{name}` is a range (smallest, largest), got {value!r}; write ({high}, {low}).")
    return low, high


def _uniform(key: Key, bounds: tuple[int, int]) -> jax.Array:
    return jax.random.randint(key, [], bounds[0], bounds[1] + 1, jnp.int32)
