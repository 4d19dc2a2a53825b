"""What samplers of one-dimensional functions share: a few random numbers make a curve, seen at random points.

Letters: K shots, Q queries.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, Task

from ._layout import positive

Range = tuple[float, float]


class Curve(NamedTuple):
    """The random choices behind one task, all float32.

    Attributes:
      numbers: a scalar for every number that makes the curve, by name.
      x: ``[K + Q, 1]``, the shots first.
      noise: ``[K + Q, 1]``, added to the curve.
    """

    numbers: dict[str, jax.Array]
    x: jax.Array
    noise: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Curves:
    """A sampler of curves ``function(x, **numbers)``; ranges ``[2]`` and noise are leaves, numbers of points static."""

    ranges: dict[str, jax.Array]
    x: jax.Array
    noise: jax.Array
    function: Callable[..., jax.Array] = field(metadata={"static": True})
    num_shots: int = field(metadata={"static": True})
    num_queries: int = field(metadata={"static": True})

    def draw(self, key: Key) -> Curve:
        """Draws a curve and the points at which it is seen."""
        *k_numbers, k_x, k_noise = jax.random.split(key, len(self.ranges) + 2)
        uniform = lambda key, shape, bounds: jax.random.uniform(key, shape, jnp.float32, bounds[0], bounds[1])
        points, names = [self.num_shots + self.num_queries, 1], sorted(self.ranges)
        return Curve(
            numbers={name: uniform(k, [], self.ranges[name]) for name, k in zip(names, k_numbers, strict=True)},
            x=uniform(k_x, points, self.x),
            noise=self.noise * jax.random.normal(k_noise, points, jnp.float32),
        )

    def fetch(self, indices: Curve) -> Task:
        """Evaluates the curve at its points."""
        y = self.function(indices.x, **indices.numbers) + indices.noise
        k = self.num_shots
        return Task(Batch(indices.x[:k], y[:k]), Batch(indices.x[k:], y[k:]))

    def __call__(self, key: Key) -> Task:
        """Makes the task of ``key``."""
        return self.fetch(self.draw(key))


def curves(
    function: Callable[..., jax.Array],
    ranges: dict[str, Range],
    *,
    x: Range,
    noise: float,
    num_shots: int,
    num_queries: int,
) -> Curves:
    """Checks what every family of curves has; numbers and points are uniform over their ranges.

    Example:
      >>> power = lambda x, degree: x**degree
      >>> sampler = curves(power, {"degree": (1, 3)}, x=(0, 1), noise=0.0, num_shots=5, num_queries=2)
      >>> sampler(jax.random.key(0)).support.y.shape
      (5, 1)
    """
    shots, queries = positive("num_shots", num_shots), positive("num_queries", num_queries)
    if not 0 <= noise < math.inf:
        raise ValueError(f"`noise` is a standard deviation and must be finite and >= 0, got {noise!r}.")
    checked = {name: _bounds(name, bounds) for name, bounds in ranges.items()}
    return Curves(checked, _bounds("x", x), jnp.float32(noise), function, shots, queries)


def _bounds(name: str, bounds: Range) -> jax.Array:
    if len(bounds) != 2 or not -math.inf < bounds[0] <= bounds[1] < math.inf:
        raise ValueError(f"`{name}` must be a finite range (smallest, largest), got {bounds!r}.")
    return jnp.asarray(bounds, jnp.float32)
