"""Regression of sine waves, the smallest family of tasks on which meta-learning shows its effect.

Finn, Abbeel and Levine, 2017, https://arxiv.org/abs/1703.03400, section 5.1.

Letters: K shots, Q queries.
"""

import math

import jax
import jax.numpy as jnp

from ._curves import Curves, Range, curves


def sinusoid(
    *,
    num_shots: int = 10,
    num_queries: int = 10,
    amplitude: Range = (0.1, 5.0),
    phase: Range = (0.0, math.pi),
    x: Range = (-5.0, 5.0),
    noise: float = 0.0,
) -> Curves:
    r"""Return a sampler of sine waves $y = A \sin(x - \varphi) + \varepsilon$.

    The amplitude $A$ and phase $\varphi$ of a task, and its points $x$, are uniform over their ranges, and
    $\varepsilon \sim \mathcal N(0, \sigma^2)$ with $\sigma$ = ``noise``. The defaults are those of the paper.

    Args:
      num_shots: support points K.
      num_queries: query points Q.
      amplitude: the range of $A$.
      phase: the range of $\varphi$.
      x: the range of the inputs.
      noise: the standard deviation $\sigma$ of the targets, in support and query.

    Returns:
      A `Sampler` of tasks whose ``x`` and ``y`` are float32 ``[K, 1]`` and ``[Q, 1]``; its ``draw`` returns a `Curve`.

    Raises:
      TypeError, ValueError: for a range that does not rise, a number that is not finite, negative noise or a size
        below 1.

    Example:
      >>> task = sinusoid(num_shots=5)(jax.random.key(0))
      >>> task.support.x.shape, task.query.y.shape
      ((5, 1), (10, 1))
    """
    ranges = {"amplitude": amplitude, "phase": phase}
    return curves(_wave, ranges, x=x, noise=noise, num_shots=num_shots, num_queries=num_queries)


def _wave(x: jax.Array, amplitude: jax.Array, phase: jax.Array) -> jax.Array:
    return amplitude * jnp.sin(x - phase)
