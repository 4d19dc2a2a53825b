"""Change what a model's passes read and return, and leave everything else about it."""

from collections.abc import Callable
from typing import Any

import jax

from .types import Apply, Key, Model, PyTree, Variables


def with_passes(
    model: Model,
    *,
    params: Callable[[PyTree], PyTree] = lambda p: p,
    outputs: Callable[[Any, PyTree], Any] = lambda z, p: z,
) -> Model:
    """Return a model of parameters ``p`` whose passes run ``model`` with ``params(p)`` and return ``outputs(z, p)``.

    Here ``z`` are the outputs of ``model``. Low-rank factors, a head on an embedding and inner steps on a few numbers
    from which weights follow are such models. `Model.init` stays: replace it where ``p`` has another structure.

    Args:
      model: the model to change.
      params: from the new parameters to those of ``model``.
      outputs: from the outputs of ``model``, and the new parameters, to the new outputs.

    Example:
      >>> import jax.numpy as jnp, jaxmeta as jm
      >>> model = jm.from_functions(lambda key, x: jnp.ones(()), lambda variables, x: x * variables.params)
      >>> doubled = with_passes(model, params=lambda p: 2 * p, outputs=lambda z, p: z + p)
      >>> print(doubled.apply(Variables(jnp.ones(())), jnp.array([3.0]))[0])
      [7.]
    """

    def through(apply: Apply) -> Apply:
        def run(
            variables: Variables,
            x: PyTree,
            *,
            train: bool = False,
            weight: jax.Array | None = None,
            key: Key | None = None,
        ) -> tuple[Any, PyTree]:
            inside = Variables(params(variables.params), variables.state)
            z, state = apply(inside, x, train=train, weight=weight, key=key)
            return outputs(z, variables.params), state

        return run

    support = None if model.apply_support is None else through(model.apply_support)
    return model._replace(apply=through(model.apply), apply_support=support)
