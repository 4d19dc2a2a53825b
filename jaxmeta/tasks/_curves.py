"""Samplers of one-dimensional functions: random coefficients give a curve, which is observed at random points.

Letters: K shots, Q queries.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, Task

from ._checks import at_least_zero, interval, positive

Range = tuple[float, float]


class Curve(NamedTuple):
    """The random choices behind one task, all float32.

    Attributes:
      numbers: the coefficients of the curve by name, each a scalar.
      x: the inputs, ``[K + Q, 1]``, the shots first.
      noise: ``[K + Q, 1]``, added to the curve.
    """

    numbers: dict[str, jax.Array]
    x: jax.Array
    noise: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Curves:
    """The sampler of curves ``function(x, **numbers)`` that `curves` returns.

    The ranges ``[2]`` and the noise are leaves; the numbers of points are static.
    """

    ranges: dict[str, jax.Array]
    x: jax.Array
    noise: jax.Array
    function: Callable[..., jax.Array] = field(metadata={"static": True})
    num_shots: int = field(metadata={"static": True})
    num_queries: int = field(metadata={"static": True})

    def draw(self, key: Key) -> Curve:
        """Draw a curve and the points at which it is observed."""
        *k_numbers, k_x, k_noise = jax.random.split(key, len(self.ranges) + 2)

        def uniform(key: Key, shape: list[int], bounds: jax.Array) -> jax.Array:
            return jax.random.uniform(key, shape, jnp.float32, bounds[0], bounds[1])

        points, names = [self.num_shots + self.num_queries, 1], sorted(self.ranges)
        return Curve(
            numbers={name: uniform(k, [], self.ranges[name]) for name, k in zip(names, k_numbers, strict=True)},
            x=uniform(k_x, points, self.x),
            noise=self.noise * jax.random.normal(k_noise, points, jnp.float32),
        )

    def fetch(self, indices: Curve) -> Task:
        """Evaluate the curve at its points."""
        y = self.function(indices.x, **indices.numbers) + indices.noise
        k = self.num_shots
        return Task(Batch(indices.x[:k], y[:k]), Batch(indices.x[k:], y[k:]))

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
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
    """Return a sampler of curves whose coefficients and inputs are uniform over their ranges.

    Args:
      function: ``(x, **numbers) -> y`` for inputs ``[K + Q, 1]``.
      ranges: the range (smallest, largest) of each coefficient by name.
      x: the range of the inputs.
      noise: the standard deviation of the normal noise of the targets.
      num_shots: support points K.
      num_queries: query points Q.

    Raises:
      TypeError, ValueError: for a range that does not rise, a number that is not finite or a size below 1.

    Example:
      >>> power = lambda x, degree: x**degree
      >>> sampler = curves(power, {"degree": (1, 3)}, x=(0, 1), noise=0.0, num_shots=5, num_queries=2)
      >>> sampler(jax.random.key(0)).support.y.shape
      (5, 1)
    """
    bounds = {name: jnp.asarray(interval(name, pair), jnp.float32) for name, pair in ranges.items()}
    return Curves(
        ranges=bounds,
        x=jnp.asarray(interval("x", x), jnp.float32),
        noise=jnp.float32(at_least_zero("noise", noise)),
        function=function,
        num_shots=positive("num_shots", num_shots),
        num_queries=positive("num_queries", num_queries),
    )
