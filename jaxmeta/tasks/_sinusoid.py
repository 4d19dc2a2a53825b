"""Regression of sine waves, the smallest family of tasks that shows meta-learning at work.

Finn, Abbeel and Levine, 2017, https://arxiv.org/abs/1703.03400, section 5.1.

Letters: K shots, Q queries.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, Task

from ._layout import positive

Range = tuple[float, float]


def sinusoid(
    *,
    num_shots: int = 10,
    num_queries: int = 10,
    amplitude: Range = (0.1, 5.0),
    phase: Range = (0.0, math.pi),
    x: Range = (-5.0, 5.0),
    noise: float = 0.0,
) -> "Sinusoid":
    r"""A sampler of sine waves $y = A \sin(x - \varphi) + \varepsilon$.

    The amplitude $A$ and phase $\varphi$ of a task, and its points $x$, are uniform over their ranges, and
    $\varepsilon \sim \mathcal N(0, \sigma^2)$ with $\sigma$ = ``noise``. The defaults are those of the paper.

    Args:
      num_shots: support points K.
      num_queries: query points Q.
      amplitude: range of $A$.
      phase: range of $\varphi$.
      x: range of the inputs.
      noise: standard deviation $\sigma$ of the targets, in support and query.

    Returns: a `Sampler` of tasks whose ``x`` and ``y`` are float32 ``[K, 1]`` and ``[Q, 1]``; its ``draw``
      returns a `Wave`.

    Example:
      >>> task = sinusoid(num_shots=5)(jax.random.key(0))
      >>> task.support.x.shape, task.query.y.shape
      ((5, 1), (10, 1))
    """
    shots, queries = positive("num_shots", num_shots), positive("num_queries", num_queries)
    if not 0 <= noise < math.inf:
        raise ValueError(f"`noise` is a standard deviation and must be finite and >= 0, got {noise!r}.")
    return Sinusoid(
        amplitude=_bounds("amplitude", amplitude),
        phase=_bounds("phase", phase),
        x=_bounds("x", x),
        noise=jnp.float32(noise),
        num_shots=shots,
        num_queries=queries,
    )


class Wave(NamedTuple):
    """The random choices behind one task, all float32.

    Attributes:
      amplitude: scalar.
      phase: scalar.
      x: ``[K + Q, 1]``, the shots first.
      noise: ``[K + Q, 1]``, added to the sine.
    """

    amplitude: jax.Array
    phase: jax.Array
    x: jax.Array
    noise: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Sinusoid:
    """The sampler that `sinusoid` makes; ranges ``[2]`` and noise are leaves, numbers of points static."""

    amplitude: jax.Array
    phase: jax.Array
    x: jax.Array
    noise: jax.Array
    num_shots: int = field(metadata={"static": True})
    num_queries: int = field(metadata={"static": True})

    def draw(self, key: Key) -> Wave:
        """Draws a wave and the points at which it is seen."""
        k_amplitude, k_phase, k_x, k_noise = jax.random.split(key, 4)
        uniform = lambda key, shape, bounds: jax.random.uniform(key, shape, jnp.float32, bounds[0], bounds[1])
        points = [self.num_shots + self.num_queries, 1]
        return Wave(
            amplitude=uniform(k_amplitude, [], self.amplitude),
            phase=uniform(k_phase, [], self.phase),
            x=uniform(k_x, points, self.x),
            noise=self.noise * jax.random.normal(k_noise, points, jnp.float32),
        )

    def fetch(self, indices: Wave) -> Task:
        """Evaluates the wave at its points."""
        y = indices.amplitude * jnp.sin(indices.x - indices.phase) + indices.noise
        k = self.num_shots
        return Task(Batch(indices.x[:k], y[:k]), Batch(indices.x[k:], y[k:]))

    def __call__(self, key: Key) -> Task:
        """Makes the task of ``key``."""
        return self.fetch(self.draw(key))


def _bounds(name: str, bounds: Range) -> jax.Array:
    if len(bounds) != 2 or not -math.inf < bounds[0] <= bounds[1] < math.inf:
        raise ValueError(f"`{name}` must be a finite range (smallest, largest), got {bounds!r}.")
    return jnp.asarray(bounds, jnp.float32)
