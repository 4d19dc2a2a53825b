"""The classes of a task: how many there are, and logits of those that are absent."""

from typing import Any

import jax
import jax.numpy as jnp

from .types import Batch, PyTree


def count_ways(batch: Batch, given: int | None, name: str = "num_ways") -> int:
    """Return the static number of ways of a batch: the length of its ``ways``, or else ``given``, the argument `name`.

    Raises:
      ValueError: if neither is there.

    Example:
      >>> count_ways(Batch(None, None, ways=jnp.ones(3, bool)), None)
      3
    """
    width = given if batch.ways is None else len(batch.ways)
    if width is None:
        raise ValueError(f"The number of ways is unknown: fill `Batch.ways`, or pass `{name}` to the factory.")
    return width


def mask_ways(outputs: PyTree, ways: jax.Array | None) -> PyTree:
    """Give the classes that a task does not have the lowest finite logit.

    Logits beyond the number of ways are of absent classes: a head of 20 outputs serves tasks of 5 ways. Of several
    outputs (a tuple or dict), those whose last axis has the length of ``ways`` are the logits; the others stay.

    Args:
      outputs: logits ``[..., W]``, or a pytree of arrays.
      ways: bool ``[W]``, or None to mask nothing.

    Raises:
      ValueError: if there are fewer logits than ways, or no output among several has the length of ``ways``.

    Example:
      >>> mask_ways(jnp.array([[1.0, 2.0]]), jnp.array([True, False])).argmax()
      Array(0, dtype=int32)
    """
    if ways is None:
        return outputs
    leaves, num_ways = jax.tree.leaves(outputs), ways.shape[0]
    if len(leaves) == 1:
        return jax.tree.map(lambda logits: _mask(logits, ways), outputs)
    is_logits = lambda leaf: leaf.ndim > 0 and leaf.shape[-1] == num_ways
    if not any(map(is_logits, leaves)):
        raise ValueError(
            f"The task has {num_ways} ways, but none of the model's outputs {[leaf.shape for leaf in leaves]} has a "
            f"last axis of that length for its logits. Give one of them {num_ways} entries, or leave out `ways`."
        )
    return jax.tree.map(lambda leaf: _mask(leaf, ways) if is_logits(leaf) else leaf, outputs)


def _mask(logits: Any, ways: jax.Array) -> jax.Array:
    num_logits, num_ways = logits.shape[-1] if logits.ndim else 0, ways.shape[0]
    if num_logits < num_ways:
        raise ValueError(
            f"The model gives {num_logits} logits but the task has {num_ways} ways. "
            f"Build the model with `num_outputs={num_ways}`, or sample tasks with `num_ways={num_logits}`."
        )
    present = jnp.pad(ways, (0, num_logits - num_ways)).reshape((1,) * (logits.ndim - 1) + (num_logits,))
    return jnp.where(present, logits, jnp.finfo(logits.dtype).min)
