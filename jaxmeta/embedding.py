"""Run a model on one set of a task: the support pass, the query pass, and features as vectors.

Letters: N examples of one set, D features.
"""

import math

import jax
import jax.numpy as jnp

from .types import Apply, Batch, Key, Model, PyTree, Variables
from .validation import check_is_model


def support_pass(model: Model) -> Apply:
    """Return the function that runs a model on a support set."""
    check_is_model(model)
    return model.apply if model.apply_support is None else model.apply_support


def support_state(
    model: Model, variables: Variables, support: Batch, key: Key | None = None, *, train: bool, default: PyTree
) -> PyTree:
    """Return the state for the queries: the support set's statistics under ``variables``.

    A model without a support pass of its own has none, and ``default`` is returned.
    """
    if model.apply_support is None:
        return default
    return model.apply_support(variables, support.x, train=train, weight=support.weight, key=key)[1]


def embed(
    model: Model,
    variables: Variables,
    x: PyTree,
    key: Key | None = None,
    *,
    train: bool = False,
    weight: jax.Array | None = None,
) -> tuple[jax.Array, PyTree]:
    """Return a model's outputs for queries, flattened to ``[N, D]``, and the state that the pass leaves."""
    z, state = model.apply(variables, x, train=train, weight=weight, key=key)
    return flat(z), state


def embed_support(
    model: Model, variables: Variables, support: Batch, key: Key | None = None, *, train: bool = False
) -> tuple[jax.Array, PyTree]:
    """Return a model's outputs for a support set, flattened to ``[N, D]``, and the state that the pass leaves."""
    z, state = support_pass(model)(variables, support.x, train=train, weight=support.weight, key=key)
    return flat(z), state


def output_shape(model: Model, variables: Variables, x: PyTree) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of a model's outputs for ``x``, without computing them."""
    return jax.eval_shape(lambda: model.apply(variables, x, train=False, weight=None, key=None)[0])


def flat(z: jax.Array) -> jax.Array:
    """Flatten features to vectors, ``[N, D]``."""
    return z.reshape(z.shape[0], math.prod(z.shape[1:]))


def at_least_float32(z: jax.Array) -> jax.Array:
    """Convert half precision to float32; wider floats stay."""
    return z.astype(jnp.promote_types(z.dtype, jnp.float32))
