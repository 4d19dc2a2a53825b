"""Metrics of predicted ratings: how far they are off, and how good a ranking of the items they give."""

from typing import Any

import jax
import jax.numpy as jnp

from ._losses import Gaussian
from ._weights import hide, weighted_mean


def mae(outputs: Any, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Return the mean absolute error $\overline{|o - y|}$ over examples and their entries.

    Args:
      outputs: ``[N, ...]``, or a `Gaussian` of such arrays, of which the mean counts.
      targets: the same shape.
      weight: the leading axes.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> mae(jnp.array([[1.0], [-3.0]]), jnp.array([[0.0], [0.0]]))
      Array(2., dtype=float32)
    """
    outputs, targets = _pair("mae", outputs, targets, weight)
    return weighted_mean(jnp.abs(outputs - targets), weight)


def rmse(outputs: Any, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Return the root mean squared error $\sqrt{\overline{(o - y)^2}}$ of one task; arguments are those of `mae`.

    `evaluate` averages it over tasks: the mean of the roots is below the root of the mean.

    Example:
      >>> print(f"{rmse(jnp.array([[3.0], [-4.0]]), jnp.zeros((2, 1))):.3f}")
      3.536
    """
    outputs, targets = _pair("rmse", outputs, targets, weight)
    return jnp.sqrt(weighted_mean((outputs - targets) ** 2, weight))


def ndcg(outputs: Any, targets: jax.Array, weight: jax.Array | None = None, *, k: int = 5) -> jax.Array:
    r"""Return the normalised discounted cumulative gain of the first ``k`` items, ranked by predicted rating.

    $\mathrm{DCG} = \sum_{i=1}^{k} (2^{y_i} - 1) / \log_2(1 + i)$ over the ranking, divided by its largest value, that
    of the ranking by true ratings. Equal predictions keep the items' order; ratings below 0 gain nothing; where nothing
    can be gained the result is 0.

    Args:
      outputs: ``[N]`` or ``[N, 1]``, or a `Gaussian` of such arrays, of which the mean counts.
      targets: true ratings, the same shape.
      weight: ``[N]``; an item of weight 0 is not ranked, all others count alike.
      k: the length of the ranking.

    Raises:
      ValueError: if the shapes differ, there is more than one rating an item, or ``k`` is below 1.

    References:
      Järvelin and Kekäläinen, 2002, https://doi.org/10.1145/582415.582418; with these gains Burges et al., 2005.

    Example:
      >>> right, wrong = jnp.array([0.1, 0.9]), jnp.array([0.9, 0.1])
      >>> [f"{ndcg(scores, jnp.array([1.0, 2.0]), k=1):.4f}" for scores in (right, wrong)]  # 3 / 3 and 1 / 3
      ['1.0000', '0.3333']
    """
    scores, ratings, shown = _ranked("ndcg", outputs, targets, weight, k)
    gains = jnp.where(shown, jnp.maximum(2.0**ratings - 1, 0), 0)
    places = jnp.arange(min(k, len(scores)))
    discounts = 1 / jnp.log2(places + 2.0)
    found = (gains[_order(scores, shown)[places]] * discounts).sum()
    best = (jnp.sort(gains, descending=True)[places] * discounts).sum()
    return _nan_where(found / jnp.where(best == 0, 1, best), scores, shown)


def precision(
    outputs: Any, targets: jax.Array, weight: jax.Array | None = None, *, k: int = 5, relevant: float = 4.0
) -> jax.Array:
    """Return the share of relevant items among the first ``k``, ranked by predicted rating.

    Where fewer than ``k`` items are ranked, the share is of those. Other arguments are those of `ndcg`.

    Args:
      outputs, targets, weight, k: as for `ndcg`.
      relevant: the smallest rating of a relevant item.

    Example:
      >>> precision(jnp.array([3.0, 2.0, 1.0]), jnp.array([5.0, 2.0, 4.0]), k=2)
      Array(0.5, dtype=float32)
    """
    scores, ratings, shown = _ranked("precision", outputs, targets, weight, k)
    hits = jnp.where(shown, (ratings >= relevant).astype(scores.dtype), 0)
    first = _order(scores, shown)[: min(k, len(scores))]
    return _nan_where(hits[first].sum() / jnp.clip(shown.sum(), 1, len(first)), scores, shown)


def _pair(name: str, outputs: Any, targets: jax.Array, weight: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Return predictions and targets of one shape, in at least float32, with hidden examples out of the way."""
    outputs = outputs.mean if isinstance(outputs, Gaussian) else outputs
    if outputs.shape != targets.shape:
        raise ValueError(
            f"`{name}` needs outputs and targets of one shape, got {outputs.shape} and {targets.shape}. "
            "Reshape the targets, or give the model as many outputs."
        )
    outputs, targets = hide((outputs, targets), weight)
    wide = jnp.promote_types(outputs.dtype, jnp.float32)
    return outputs.astype(wide), targets.astype(wide)


def _ranked(
    name: str, outputs: Any, targets: jax.Array, weight: jax.Array | None, k: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return scores, ratings and whether an item is shown, ``[N]`` each."""
    scores, ratings = _pair(name, outputs, targets, weight)
    if scores.size != scores.shape[0] or k < 1:
        raise ValueError(
            f"`{name}` ranks items by one rating each, [N] or [N, 1], and `k` is at least 1; got {scores.shape}, {k}."
        )
    shown = jnp.ones(scores.shape[0], bool) if weight is None else weight != 0
    return scores.reshape(-1), ratings.reshape(-1), shown


def _order(scores: jax.Array, shown: jax.Array) -> jax.Array:
    """Return the items from the highest score to the lowest, hidden ones last."""
    return jnp.lexsort((-scores, ~shown))


def _nan_where(value: jax.Array, scores: jax.Array, shown: jax.Array) -> jax.Array:
    return jnp.where((jnp.isnan(scores) & shown).any(), jnp.nan, value)
