"""The loss of a batch, from a loss function of the user's own."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..types import Batch
from ._weights import hide, weighted_mean

LossFn = Callable[..., jax.Array]


def batch_loss(loss_fn: LossFn, outputs: Any, batch: Batch) -> jax.Array:
    """Return the scalar loss of one batch: that of ``loss_fn``, or the weighted mean of its values per example.

    ``loss_fn`` never sees the outputs and targets of examples with weight 0: see `hide`.

    Raises:
      ValueError: if the batch has weights and the loss returns a scalar without taking them.

    Example:
      >>> batch = Batch(None, jnp.array([1.0, 5.0]), weight=jnp.array([1.0, 0.0]))
      >>> batch_loss(lambda outputs, targets: (outputs - targets) ** 2, jnp.zeros(2), batch)
      Array(1., dtype=float32)
    """
    outputs, targets = hide((outputs, batch.y), batch.weight)
    value = loss_fn(outputs, targets)
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
    return loss_fn(outputs, targets, **{name: batch.weight})


def _weight_argument(loss_fn: LossFn) -> str | None:
    """Return the name of a loss's weight argument; its third argument may be another one, such as label smoothing."""
    names = inspect.signature(loss_fn).parameters
    return next((name for name in ("weight", "weights") if name in names), None)
