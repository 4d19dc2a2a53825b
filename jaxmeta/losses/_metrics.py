"""Metrics, and which of them fit a task."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ._losses import Gaussian, check_labels, cross_entropy, gaussian_nll, mse
from ._weights import hide, weighted_mean


def accuracy(outputs: jax.Array, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """Return the share of examples (or tokens) whose largest logit is the label's; shapes are those of `cross_entropy`.

    NaN is no class: one example with a NaN among its logits makes the accuracy NaN.

    Example:
      >>> accuracy(jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.array([1, 1]))
      Array(0.5, dtype=float32)
    """
    check_labels(outputs, targets)
    right = (outputs.argmax(-1) == targets).astype(jnp.float32)
    return weighted_mean(jnp.where(jnp.isnan(outputs).any(-1), jnp.nan, right), weight)


def nll(outputs: Any, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """Return the mean negative log-likelihood in nats: `gaussian_nll` of a `Gaussian`, `cross_entropy` of logits.

    Example:
      >>> print(nll(jnp.zeros((3, 4)), jnp.array([0, 1, 3])))  # log 4
      1.3862944
    """
    if isinstance(outputs, Gaussian):
        return gaussian_nll(outputs, targets, weight)
    return cross_entropy(outputs, targets, weight)


def expected_calibration_error(
    outputs: jax.Array, targets: jax.Array, weight: jax.Array | None = None, *, num_bins: int = 15
) -> jax.Array:
    r"""Return the expected calibration error $\sum_b \frac{n_b}{n} |\mathrm{acc}_b - \mathrm{conf}_b|$ of one task.

    Predictions are sorted into ``num_bins`` bins of equal width by their confidence, the largest softmax probability;
    bin $b$ holds the confidences in $((b - 1) / B, b / B]$. $n_b$ is the sum of weights, $\mathrm{acc}_b$ the accuracy
    and $\mathrm{conf}_b$ the mean confidence of a bin. A task with few queries has few predictions a bin, which biases
    the error upwards: compare learners on tasks of one size.

    Args:
      outputs: logits ``[N, W]``, or ``[N, L, W]`` per token.
      targets: integer labels ``[N]`` or ``[N, L]``.
      weight: as ``targets``, or ``[N]``.
      num_bins: $B$.

    Raises:
      ValueError: if ``targets`` does not have the shape of ``outputs`` without its last axis.

    References:
      Guo et al., 2017, https://arxiv.org/abs/1706.04599, section 2.

    Example:
      >>> logits = jnp.log(jnp.array([[0.75, 0.25], [0.75, 0.25]]))  # sure to 75 %, right once in two
      >>> print(expected_calibration_error(logits, jnp.array([0, 1])).round(4))
      0.25
    """
    check_labels(outputs, targets)
    outputs, targets = hide((outputs, targets), weight)
    probability = jax.nn.softmax(outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32)), -1)
    confidence = probability.max(-1)
    gap = (probability.argmax(-1) == targets).astype(confidence.dtype) - confidence
    number = jnp.clip(jnp.ceil(confidence * num_bins).astype(jnp.int32) - 1, 0, num_bins - 1)
    in_bin = jax.nn.one_hot(number, num_bins, dtype=confidence.dtype)
    return jnp.abs(jax.vmap(weighted_mean, (-1, None))(in_bin * gap[..., None], weight)).sum()


def default_metrics(outputs: Any, targets: Any) -> dict[str, Callable[..., jax.Array]]:
    """Return the metrics that fit a task: accuracy for labels, squared error for float targets, and likelihoods.

    Labels are integers with an axis of two or more logits; one logit may be the log-odds of two classes as well as the
    logarithm of a rate, so nothing is assumed about it. Where nothing fits the result is empty, and `evaluate` says so.

    Example:
      >>> list(default_metrics(jnp.zeros((3, 5)), jnp.array([0, 1, 2])))
      ['accuracy']
      >>> default_metrics(jnp.zeros((3, 1)), jnp.array([0, 1, 1]))
      {}
    """
    if isinstance(outputs, Gaussian):
        fits = hasattr(targets, "shape") and outputs.mean.shape == targets.shape
        return {"nll": gaussian_nll, "mse": _mean_mse} if fits else {}
    if not (hasattr(outputs, "shape") and hasattr(targets, "dtype")):
        return {}
    if jnp.issubdtype(targets.dtype, jnp.integer):
        fits = outputs.ndim > 0 and outputs.shape[:-1] == targets.shape and outputs.shape[-1] > 1
        return {"accuracy": accuracy} if fits else {}
    if jnp.issubdtype(targets.dtype, jnp.inexact) and outputs.shape == targets.shape:
        return {"mse": mse}
    return {}


def _mean_mse(outputs: Gaussian, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    return mse(outputs.mean, targets, weight)
