"""Models without flax: two functions, and the identity."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..types import Key, Model, PyTree, Variables


def from_functions(init: Callable[..., Any], apply: Callable[..., Any], *, stateful: bool = False) -> Model:
    """Make a `Model` from two functions.

    Args:
      init: ``(key, x) -> Variables``, or bare parameters.
      apply: ``(variables, x, *, key=None) -> outputs``; it may also take ``train`` and ``weight``. It gets ``key`` in
        training only.
      stateful: ``apply`` returns ``(outputs, state)``, and the state that training leaves is kept.

    Returns:
      A `Model`.

    Example:
      >>> model = from_functions(lambda key, x: {"w": jnp.ones(3)}, lambda variables, x: x @ variables.params["w"])
      >>> model.apply(model.init(jax.random.key(0), None), jnp.ones((2, 3)))[0]
      Array([3., 3.], dtype=float32)
    """
    parameters = inspect.signature(apply).parameters.values()
    takes_all = any(p.kind == p.VAR_KEYWORD for p in parameters)
    accepted = {"train", "weight", "key"} if takes_all else {p.name for p in parameters}

    def init_variables(key: Key, x: PyTree) -> Variables:
        variables = init(key, x)
        return variables if isinstance(variables, Variables) else Variables(variables)

    def call(
        variables: Variables,
        x: PyTree,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        key: Key | None = None,
    ) -> tuple[Any, PyTree]:
        given = {"train": train, "weight": weight, "key": key if train else None}
        result = apply(variables, x, **{name: given[name] for name in given if name in accepted})
        if not stateful:
            return result, variables.state
        outputs, state = result
        return outputs, jax.lax.stop_gradient(state) if train else variables.state

    return Model(init_variables, call, None, keeps_state=stateful)


def identity() -> Model:
    """Make a `Model` without parameters whose outputs are its inputs, flattened and joined to ``[N, D]``.

    It serves learners that bring a network of their own.

    Example:
      >>> identity().apply(Variables(()), {"a": jnp.ones((2, 3)), "b": jnp.zeros((2, 1))})[0].shape
      (2, 4)
    """

    def join(variables: Variables, x: PyTree) -> jax.Array:
        leaves = [leaf.reshape(leaf.shape[0], math.prod(leaf.shape[1:])) for leaf in jax.tree.leaves(x)]
        return jnp.concatenate(leaves, -1)

    return from_functions(lambda key, x: {}, join)
