"""Losses with a derivative."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ._weights import hide, weighted_mean


def cross_entropy(outputs: jax.Array, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Return the mean of $-\log \mathrm{softmax}(o)_y$, in nats.

    Args:
      outputs: logits ``[N, W]``, or ``[N, L, W]`` per token.
      targets: integer labels ``[N]`` or ``[N, L]``.
      weight: as ``targets``, or ``[N]``.

    Raises:
      ValueError: if ``targets`` does not have the shape of ``outputs`` without its last axis.

    Example:
      >>> print(cross_entropy(jnp.zeros((3, 4)), jnp.array([0, 1, 3])))  # log 4
      1.3862944
    """
    check_labels(outputs, targets)
    outputs, targets = hide((outputs, targets), weight)
    logits = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
    return weighted_mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets), weight)


def mse(outputs: jax.Array, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Return the mean squared error $\overline{(o - y)^2}$ over examples and their entries.

    Args:
      outputs: ``[N, ...]``.
      targets: the same shape.
      weight: the leading axes.

    Raises:
      ValueError: if the shapes differ; broadcasting ``[N, 1]`` against ``[N]`` would be silent nonsense.

    Example:
      >>> mse(jnp.array([[1.0], [3.0]]), jnp.array([[0.0], [0.0]]))
      Array(5., dtype=float32)
    """
    if outputs.shape != targets.shape:
        raise ValueError(
            f"`mse` needs outputs and targets of one shape, got {outputs.shape} and {targets.shape}. "
            "Reshape the targets, or give the model as many outputs."
        )
    outputs, targets = hide((outputs, targets), weight)
    return weighted_mean((outputs - targets) ** 2, weight)


def sigmoid_mse(outputs: jax.Array, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Return the mean over examples of $\sum_w (\sigma(o_w) - [y = w])^2$, each class a question of its own.

    A class that is masked with the lowest finite logit adds nothing. Shapes are those of `cross_entropy`.

    Example:
      >>> sigmoid_mse(jnp.zeros((1, 4)), jnp.array([2]))
      Array(1., dtype=float32)
    """
    check_labels(outputs, targets)
    outputs, targets = hide((outputs, targets), weight)
    scores = jax.nn.sigmoid(outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32)))
    truth = jax.nn.one_hot(targets, outputs.shape[-1], dtype=scores.dtype)
    return weighted_mean(((scores - truth) ** 2).sum(-1), weight)


class Gaussian(NamedTuple):
    """A normal distribution for every entry of the targets: the outputs of learners that predict their uncertainty.

    Attributes:
      mean: ``[N, ...]``.
      std: standard deviations, of the same shape.
    """

    mean: jax.Array
    std: jax.Array


def gaussian_nll(outputs: Gaussian, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Return the mean of $-\log \mathcal N(y; \mu, \sigma^2)$ over examples and their entries, in nats.

    Args:
      outputs: a `Gaussian`, or any pair of means and standard deviations.
      targets: of the same shape.
      weight: the leading axes.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> print(gaussian_nll(Gaussian(jnp.zeros((1, 1)), jnp.ones((1, 1))), jnp.zeros((1, 1))))  # log(2 pi) / 2
      0.9189385
    """
    mean, std = outputs
    if not mean.shape == std.shape == targets.shape:
        raise ValueError(
            f"`gaussian_nll` needs means, standard deviations and targets of one shape, got {mean.shape}, {std.shape} "
            f"and {targets.shape}. Reshape the targets, or give the learner as many outputs."
        )
    mean, std, targets = hide((mean, std, targets), weight)
    mean, std, targets = (a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in (mean, std, targets))
    return weighted_mean(0.5 * ((targets - mean) / std) ** 2 + jnp.log(std) + 0.5 * math.log(2 * math.pi), weight)


def kl_divergence(targets: jax.Array, outputs: jax.Array) -> jax.Array:
    r"""Return $\mathrm{KL}(\mathrm{softmax}(t) \,\|\, \mathrm{softmax}(o))$ for each example, in nats.

    A class whose target probability is 0, a masked one for instance, adds nothing.

    Args:
      targets: logits ``[..., W]``.
      outputs: logits of the same shape.

    Returns:
      Divergences ``[...]``, in float32 or wider.

    Example:
      >>> f"{kl_divergence(jnp.zeros(2), jnp.log(jnp.array([0.25, 0.75]))):.4f}"  # log(4 / 3) / 2
      '0.1438'
    """
    wide = lambda a: a.astype(jnp.promote_types(a.dtype, jnp.float32))
    log_p, log_q = (jax.nn.log_softmax(wide(logits), -1) for logits in (targets, outputs))
    p = jnp.exp(log_p)
    known = lambda log: jnp.where(p > 0, log, 0)  # before the product: no derivative of 0 times infinity
    return (p * (known(log_p) - known(log_q))).sum(-1)


def check_labels(outputs: jax.Array, targets: jax.Array) -> None:
    """Raise a ValueError unless ``targets`` are integers with one label for each row of logits."""
    if outputs.shape[:-1] != targets.shape or not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(
            f"Logits {outputs.shape} need integer labels {outputs.shape[:-1]}, got {targets.dtype} {targets.shape}."
        )
