"""Support sets as inputs of networks: sizes of embeddings, targets as inputs, and the order of a set."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from ..embedding import output_shape
from ..rows import take_rows
from ..types import Batch, Key, Model, Variables
from ..ways import count_ways


def embedding_size(model: Model, variables: Variables, x: Any) -> int:
    """Return the number of features D, without computing anything."""
    return math.prod(output_shape(model, variables, x).shape[1:])


def targets_as_inputs(batch: Batch, num_ways: int | None = None) -> jax.Array:
    """Return targets for a network to read: labels one-hot ``[N, W]``, float targets ``[N, D]`` unchanged.

    Args:
      batch: labels ``[N]`` or targets ``[N, D]``.
      num_ways: W, for batches without ``ways``.

    Raises:
      ValueError: if the number of ways is unknown, or the targets have another shape.

    Example:
      >>> targets_as_inputs(Batch(None, jnp.array([1, 0])), 2).tolist()
      [[0.0, 1.0], [1.0, 0.0]]
    """
    labels = jnp.issubdtype(batch.y.dtype, jnp.integer)
    if batch.y.ndim != (1 if labels else 2):
        raise ValueError(
            f"Targets must be integer labels [N] or numbers [N, D], got {batch.y.dtype} {batch.y.shape}. "
            "Reshape them, or take a learner with fast weights, such as `maml`."
        )
    if not labels:
        return batch.y
    return jax.nn.one_hot(batch.y, count_ways(batch, num_ways))


def in_sequence(batch: Batch, key: Key | None = None) -> Batch:
    """Return a set as a sequence: padding behind everything else, and the rest shuffled if there is a key.

    Padding that is appended does not change the order.

    Example:
      >>> in_sequence(Batch(jnp.array([1, 2, 3]), jnp.zeros(3), jnp.array([1.0, 0.0, 1.0]))).x.tolist()
      [1, 3, 2]
    """
    if key is None and batch.weight is None:
        return batch
    rows = jnp.arange(batch.y.shape[0])
    rank = rows if key is None else jax.vmap(lambda row: jax.random.bits(jax.random.fold_in(key, row)))(rows)
    absent = jnp.zeros(rows.shape, bool) if batch.weight is None else batch.weight == 0
    return take_rows(batch, jnp.lexsort((rank, absent)))
