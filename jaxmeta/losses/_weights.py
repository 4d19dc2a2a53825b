"""Weights of examples: take the weighted mean, and keep examples of weight 0 out of values and gradients."""

import jax
import jax.numpy as jnp

from ..types import PyTree


def weighted_mean(values: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""Return the weighted mean $\sum_i w_i v_i / \sum_i w_i$ in at least float32; 0 where all weights are 0.

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
    return (weight * jnp.where(weight != 0, values, 0.0)).sum() / jnp.where(total == 0, 1.0, total)


def hide(tree: PyTree, weight: jax.Array | None) -> PyTree:
    """Replace every entry of weight 0 by a copy of the first entry that has a weight, and cut its gradient.

    A loss of the result is finite wherever it is finite on the entries that count, and no gradient reaches what is
    hidden. Where all weights are 0 the copies are zeros.

    Args:
      tree: arrays ``[N, ...]``. Where ``weight`` is ``[N, L]`` and an array is not, an example of it is hidden
        if all weights of the example are 0. An array of another length is returned as it is.
      weight: ``[N]`` or ``[N, L]``, or None, which hides nothing.

    Example:
      >>> hide(jnp.array([1.0, jnp.nan]), jnp.array([1.0, 0.0]))
      Array([1., 1.], dtype=float32)
    """
    if weight is None:
        return tree
    by_entry = weight != 0
    by_example = by_entry.reshape(by_entry.shape[0], -1).any(1)

    def one(leaf: jax.Array) -> jax.Array:
        shape = jnp.shape(leaf)
        visible = by_entry if shape[: by_entry.ndim] == by_entry.shape else by_example
        if shape[: visible.ndim] != visible.shape:
            return leaf
        rest = shape[visible.ndim :]
        first = jax.lax.stop_gradient(leaf).reshape(-1, *rest)[jnp.argmax(visible.reshape(-1))]
        copy = jnp.where(visible.any(), first, jnp.zeros_like(first))
        return jnp.where(visible.reshape(visible.shape + (1,) * len(rest)), leaf, copy[(None,) * visible.ndim])

    return jax.tree.map(one, tree)
