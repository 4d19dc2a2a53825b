"""Regression of sine waves, the smallest family of tasks that shows meta-learning at work.

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
      returns a `Curve`.

    Example:
      >>> task = sinusoid(num_shots=5)(jax.random.key(0))
      >>> task.support.x.shape, task.query.y.shape
      ((5, 1), (10, 1))
    """
    points = {"x": x, "noise": noise, "num_shots": num_shots, "num_queries": num_queries}
    return curves(_wave, {"amplitude": amplitude, "phase": phase}, **points)


def _wave(x: jax.Array, amplitude: jax.Array, phase: jax.Array) -> jax.Array:
    return amplitude * jnp.sin(x - phase)
