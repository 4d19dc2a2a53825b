"""Regression of straight lines; mixed with sine waves, a learner must tell the two families apart from few points.

Finn, Xu and Levine, 2018, https://arxiv.org/abs/1806.02817, section 6.

Letters: K shots, Q queries.
"""

import jax

from ._curves import Curves, Range, curves


def lines(
    *,
    num_shots: int = 10,
    num_queries: int = 10,
    slope: Range = (-3.0, 3.0),
    intercept: Range = (-3.0, 3.0),
    x: Range = (-5.0, 5.0),
    noise: float = 0.0,
) -> Curves:
    r"""Return a sampler of lines $y = a x + b + \varepsilon$.

    The slope $a$ and intercept $b$ of a task, and its points $x$, are uniform over their ranges, and
    $\varepsilon \sim \mathcal N(0, \sigma^2)$ with $\sigma$ = ``noise``.

    Args:
      num_shots: support points K.
      num_queries: query points Q.
      slope: the range of $a$.
      intercept: the range of $b$.
      x: the range of the inputs.
      noise: the standard deviation $\sigma$ of the targets, in support and query.

    Returns:
      A `Sampler` of tasks whose ``x`` and ``y`` are float32 ``[K, 1]`` and ``[Q, 1]``; its ``draw`` returns a `Curve`.

    Raises:
      TypeError, ValueError: for a range that does not rise, a number that is not finite, negative noise or a size
        below 1.

    Example:
      >>> lines(num_shots=5)(jax.random.key(0)).support.y.shape
      (5, 1)
    """
    ranges = {"slope": slope, "intercept": intercept}
    return curves(_line, ranges, x=x, noise=noise, num_shots=num_shots, num_queries=num_queries)


def _line(x: jax.Array, slope: jax.Array, intercept: jax.Array) -> jax.Array:
    return slope * x + intercept
