"""Class means and similarities, for metric learners."""

from typing import Any

import jax
import jax.numpy as jnp


def membership(
    labels: jax.Array, num_ways: int, weight: jax.Array | None = None, dtype: Any = jnp.float32
) -> jax.Array:
    """Return the weight of each example in each class, ``[N, W]``; a label outside 0 to W - 1 belongs to none.

    Example:
      >>> membership(jnp.array([1, -1]), 2, jnp.array([0.5, 1.0])).tolist()
      [[0.0, 0.5], [0.0, 0.0]]
    """
    member = jax.nn.one_hot(labels, num_ways, dtype=dtype)
    return member if weight is None else member * weight[:, None].astype(dtype)


def class_sums(
    z: jax.Array, labels: jax.Array, num_ways: int, weight: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Return each class's weighted sum ``[W, D]`` of embeddings ``z`` ``[N, D]``, and its sum of weights ``[W]``."""
    member = membership(labels, num_ways, weight, z.dtype)
    return member.T @ z, member.sum(0)


def class_means(z: jax.Array, labels: jax.Array, num_ways: int, weight: jax.Array | None = None) -> jax.Array:
    """Return each class's weighted mean ``[W, D]`` of the embeddings ``z`` ``[N, D]``; zero for a class without any.

    Example:
      >>> class_means(jnp.array([[1.0], [3.0]]), jnp.array([0, 0]), 2).tolist()
      [[2.0], [0.0]]
    """
    sums, total = class_sums(z, labels, num_ways, weight)
    return sums / jnp.where(total == 0, 1, total)[:, None]


def sqeuclidean_logits(z: jax.Array, means: jax.Array) -> jax.Array:
    r"""Return $-\|z - c\|^2$, ``[N, W]``, in at least float32, from the differences themselves: no cancellation."""
    return -jnp.sum((z[:, None] - means[None]) ** 2, -1, dtype=jnp.promote_types(z.dtype, jnp.float32))


def cosine_logits(z: jax.Array, means: jax.Array) -> jax.Array:
    """Return cosine similarities, ``[N, W]``."""
    return unit(z) @ unit(means).T


def unit(z: jax.Array) -> jax.Array:
    """Scale rows to length 1. A zero row, as of an absent way, stays: the square root there has no derivative."""
    square = jnp.sum(z**2, -1, keepdims=True)
    some = square > jnp.finfo(z.dtype).tiny
    return jnp.where(some, z * jax.lax.rsqrt(jnp.where(some, square, 1)), 0)
