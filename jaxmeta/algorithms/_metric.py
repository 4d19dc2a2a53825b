"""What metric learners share: the embedding of a set, its classes, and similarities to them."""

import jax
import jax.numpy as jnp

from ..types import Batch, Model, PyTree, Variables


def embed_support(model: Model, meta: Variables, support: Batch, key=None, *, train: bool) -> tuple[jax.Array, PyTree]:
    """The features of the support set as the model gives them, and the state that this pass leaves."""
    support_pass = model.apply_support or model.apply
    return support_pass(meta, support.x, train=train, weight=support.weight, key=key)


def feature_shape(model: Model, variables: Variables, x: PyTree) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the features of ``x``, without computing them."""
    return jax.eval_shape(lambda: model.apply(variables, x, train=False, weight=None, key=None)[0])


def flat(z: jax.Array) -> jax.Array:
    """Features as vectors, ``[N, D]``."""
    return z.reshape(z.shape[0], -1)


def at_least_float32(z: jax.Array) -> jax.Array:
    """Half precision as float32; wider floats as they are."""
    return z.astype(jnp.promote_types(z.dtype, jnp.float32))


def membership(labels: jax.Array, num_ways: int, weight: jax.Array | None = None, dtype=jnp.float32) -> jax.Array:
    """The weight of each example in each class ``[N, W]``; a label outside 0 to W - 1 belongs to none.

    Example:
      >>> membership(jnp.array([1, -1]), 2, jnp.array([0.5, 1.0])).tolist()
      [[0.0, 0.5], [0.0, 0.0]]
    """
    member = jax.nn.one_hot(labels, num_ways, dtype=dtype)
    return member if weight is None else member * weight[:, None].astype(dtype)


def class_sums(
    z: jax.Array, labels: jax.Array, num_ways: int, weight: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Weighted sum ``[W, D]`` of the embeddings ``z`` ``[N, D]`` of each class, and the sum of its weights ``[W]``."""
    member = membership(labels, num_ways, weight, z.dtype)
    return member.T @ z, member.sum(0)


def class_means(z: jax.Array, labels: jax.Array, num_ways: int, weight: jax.Array | None = None) -> jax.Array:
    """Weighted mean ``[W, D]`` of the embeddings ``z`` ``[N, D]`` of each class; zero for a class without any.

    Example:
      >>> class_means(jnp.array([[1.0], [3.0]]), jnp.array([0, 0]), 2).tolist()
      [[2.0], [0.0]]
    """
    sums, total = class_sums(z, labels, num_ways, weight)
    return sums / jnp.where(total == 0, 1, total)[:, None]


def sqeuclidean_logits(z: jax.Array, means: jax.Array) -> jax.Array:
    r"""$-\|z - c\|^2$, ``[N, W]``, in at least float32, from the differences themselves: no cancellation."""
    return -jnp.sum((z[:, None] - means[None]) ** 2, -1, dtype=jnp.promote_types(z.dtype, jnp.float32))


def cosine_logits(z: jax.Array, means: jax.Array) -> jax.Array:
    """Cosine similarity ``[N, W]``."""
    return unit(z) @ unit(means).T


def unit(z: jax.Array) -> jax.Array:
    """Rows of length 1. A zero row, as of an absent way, stays zero: the square root there would have no derivative."""
    square = jnp.sum(z**2, -1, keepdims=True)
    some = square > jnp.finfo(z.dtype).tiny
    return jnp.where(some, z * jax.lax.rsqrt(jnp.where(some, square, 1)), 0)
