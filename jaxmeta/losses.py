"""Losses and metrics: ``(outputs, targets, weight=None) -> scalar``.

A user's loss may also return one value per example; `batch_loss` then takes the weighted mean.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from .types import Batch

LossFn = Callable[..., jax.Array]


def weighted_mean(values: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Weighted mean $\sum_i w_i v_i / \sum_i w_i$ in at least float32; 0 where all weights are 0.

    Args:
      values: ``[N, ...]``.
      weight: the leading axes of ``values``, or None for a plain mean.

    Raises:
      ValueError: if ``weight`` does not match the leading axes of ``values``.

    Example:
      >>> weighted_mean(jnp.array([1.0, 3.0, 100.0]), jnp.array([1.0, 1.0, 0.0]))
      Array(2., dtype=float32)
    """
    values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    if weight is None:
        return values.mean()
    if values.shape[: weight.ndim] != weight.shape:
        raise ValueError(
            f"`weight` {weight.shape} does not match the leading axes of the per-example values {values.shape}. "
            "Give one weight per example [N], or per token [N, L] with a loss per token."
        )
    weight = weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim)).astype(values.dtype)
    weight = jnp.broadcast_to(weight, values.shape)
    total = weight.sum()
    return jnp.where(weight != 0, weight * values, 0.0).sum() / jnp.where(total == 0, 1.0, total)


def cross_entropy(outputs: jax.Array, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Mean of $-\log \mathrm{softmax}(o)_y$, in nats.

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
    _check_labels(outputs, targets)
    logits = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
    return weighted_mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets), weight)


def mse(outputs: jax.Array, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Mean squared error $\overline{(o - y)^2}$ over examples and their entries.

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
    return weighted_mean((outputs - targets) ** 2, weight)


def sigmoid_mse(outputs: jax.Array, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Mean over examples of $\sum_w (\sigma(o_w) - [y = w])^2$: every class a yes-or-no question of its own.

    A class that is masked with the lowest finite logit adds nothing. Shapes as `cross_entropy`.

    Example:
      >>> sigmoid_mse(jnp.zeros((1, 4)), jnp.array([2]))
      Array(1., dtype=float32)
    """
    _check_labels(outputs, targets)
    scores = jax.nn.sigmoid(outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32)))
    wanted = jax.nn.one_hot(targets, outputs.shape[-1], dtype=scores.dtype)
    return weighted_mean(((scores - wanted) ** 2).sum(-1), weight)


class Gaussian(NamedTuple):
    """A normal distribution for every entry of the targets: what learners predict that know their uncertainty.

    Attributes:
      mean: ``[N, ...]``.
      std: standard deviations, of the same shape.
    """

    mean: jax.Array
    std: jax.Array


def gaussian_nll(outputs: Gaussian, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Mean of $-\log \mathcal N(y; \mu, \sigma^2)$ over examples and their entries, in nats.

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
    mean, std, targets = (a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in (mean, std, targets))
    return weighted_mean(0.5 * ((targets - mean) / std) ** 2 + jnp.log(std) + 0.5 * math.log(2 * math.pi), weight)


def accuracy(outputs: jax.Array, targets: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """Share of examples (or tokens) whose largest logit is the label's; shapes as `cross_entropy`.

    Example:
      >>> accuracy(jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.array([1, 1]))
      Array(0.5, dtype=float32)
    """
    _check_labels(outputs, targets)
    return weighted_mean((outputs.argmax(-1) == targets).astype(jnp.float32), weight)


def default_metrics(outputs: Any, targets: Any) -> dict[str, Callable[..., jax.Array]]:
    """The metrics that fit a task: accuracy for labels, mean squared error for float targets, and likelihoods.

    Example:
      >>> list(default_metrics(jnp.zeros((3, 5)), jnp.array([0, 1, 2])))
      ['accuracy']
    """
    if isinstance(outputs, Gaussian):
        mean_error = lambda outputs, y, weight=None: mse(outputs.mean, y, weight)
        return {"nll": gaussian_nll, "mse": mean_error} if outputs.mean.shape == targets.shape else {}
    if not (hasattr(outputs, "shape") and hasattr(targets, "dtype")):
        return {}
    if jnp.issubdtype(targets.dtype, jnp.integer) and outputs.shape[:-1] == targets.shape:
        return {"accuracy": accuracy}
    if jnp.issubdtype(targets.dtype, jnp.inexact) and outputs.shape == targets.shape:
        return {"mse": mse}
    return {}


def batch_loss(loss_fn: LossFn, outputs: Any, batch: Batch) -> jax.Array:
    """The scalar loss of one batch: `loss_fn`'s own scalar, or the weighted mean of its per-example values.

    Raises:
      ValueError: if the batch has weights and the loss returns a scalar without taking them.

    Example:
      >>> batch = Batch(None, jnp.array([1.0, 5.0]), weight=jnp.array([1.0, 0.0]))
      >>> batch_loss(lambda outputs, targets: (outputs - targets) ** 2, jnp.zeros(2), batch)
      Array(1., dtype=float32)
    """
    value = loss_fn(outputs, batch.y)
    if jnp.ndim(value) > 0:
        return weighted_mean(value, batch.weight)
    if batch.weight is None:
        return value
    name = _weight_argument(loss_fn)
    if name is None:
        raise ValueError(
            f"The batch has `weight` {batch.weight.shape} but the loss {getattr(loss_fn, '__name__', loss_fn)!r} "
            "returns a scalar and takes no weight, so padding would count. Return one value per example, "
            "or take an argument named `weight`."
        )
    return loss_fn(outputs, batch.y, **{name: batch.weight})


def _weight_argument(loss_fn: LossFn) -> str | None:
    """What a loss calls its weights: a third argument may be something else, label smoothing for instance."""
    names = inspect.signature(loss_fn).parameters
    return next((name for name in ("weight", "weights") if name in names), None)


def _check_labels(outputs: jax.Array, targets: jax.Array) -> None:
    if outputs.shape[:-1] != targets.shape or not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(
            f"Logits {outputs.shape} need integer labels {outputs.shape[:-1]}, got {targets.dtype} {targets.shape}."
        )
