"""Random quadratics, the smallest family of optimisation problems for training a learned optimizer.

Andrychowicz et al., 2016, https://arxiv.org/abs/1606.04474, section 3.1.

Letters: D dimensions.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, Task

from ._checks import finite, positive


def quadratics(*, num_dims: int = 10, scale: float = 1.0) -> "Quadratics":
    r"""Return a sampler of problems $f(\theta) = \frac{1}{D} \|W \theta - y\|^2$, whose minimum is 0.

    The entries of $W$ and $y$ are independent, $\mathcal N(0, \sigma^2)$ with $\sigma$ = ``scale``. Such a problem is
    the linear regression of ``y`` on ``x`` $= W$ under `losses.mse`; the query is the support set again.

    Args:
      num_dims: the number of dimensions D.
      scale: the standard deviation $\sigma$; the curvature grows with its square.

    Returns:
      A `Sampler` of tasks whose ``x`` is float32 ``[D, D]`` and ``y`` ``[D, 1]``; its ``draw`` returns a `Quadratic`.

    Raises:
      TypeError, ValueError: if ``scale`` is not finite and positive, or ``num_dims`` is below 1.

    Example:
      >>> from jaxmeta import from_functions, learned_optimizer, losses
      >>> start = lambda key, x: jax.random.normal(key, (x.shape[-1], 1))
      >>> learner = learned_optimizer(from_functions(start, lambda v, x: x @ v.params), losses.mse)
      >>> quadratics(num_dims=3)(jax.random.key(0)).support.x.shape
      (3, 3)
    """
    if not finite("scale", scale) > 0:
        raise ValueError(f"`scale` is a standard deviation and must be finite and positive, got {scale!r}.")
    return Quadratics(jnp.float32(scale), positive("num_dims", num_dims))


class Quadratic(NamedTuple):
    """One problem: ``matrix`` $W$ ``[D, D]`` and ``target`` $y$ ``[D, 1]``, float32."""

    matrix: jax.Array
    target: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Quadratics:
    """The sampler that `quadratics` returns; the scale is a leaf and the number of dimensions is static."""

    scale: jax.Array
    num_dims: int = field(metadata={"static": True})

    def draw(self, key: Key) -> Quadratic:
        """Draw a problem."""
        entries = self.scale * jax.random.normal(key, (self.num_dims, self.num_dims + 1), jnp.float32)
        return Quadratic(entries[:, :-1], entries[:, -1:])

    def fetch(self, indices: Quadratic) -> Task:
        """Return the problem as a task."""
        batch = Batch(indices.matrix, indices.target)
        return Task(batch, batch)

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
        return self.fetch(self.draw(key))
