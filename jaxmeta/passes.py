"""Change what a model's passes read and return, and leave everything else about it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from .paths import path_name
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

    def run(
        apply: Apply,
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

    return around(model, run)


def around(model: Model, run: Callable[..., tuple[Any, PyTree]]) -> Model:
    """Return the model with passes ``run(apply, variables, x, *, train, weight, key)``; ``apply`` is its own pass.

    Example:
      >>> import jax.numpy as jnp, jaxmeta as jm
      >>> model = jm.from_functions(lambda key, x: (), lambda variables, x: x)
      >>> negated = around(model, lambda apply, variables, x, **how: apply(variables, -x, **how))
      >>> print(negated.apply(Variables(()), jnp.array([3.0]))[0])
      [-3.]
    """
    support = None if model.apply_support is None else partial(run, model.apply_support)
    return model._replace(apply=partial(run, model.apply), apply_support=support)


def modulate(params: PyTree, layer: str, shift: jax.Array) -> PyTree:
    r"""Return the parameters of a model whose layer is followed by a modulation.

    Args:
      params: of the whole model.
      layer: the path of a layer with a bias.
      shift: $\beta$, which is added, ``[D]`` for a bias of that length; or for a layer with a scale too
        $(\gamma - 1, \beta)$, ``[2 D]``: outputs become $\gamma \circ h + \beta$ (FiLM).

    Example:
      >>> import jax.numpy as jnp
      >>> layer = {"norm": {"scale": jnp.array([2.0]), "bias": jnp.array([3.0])}}
      >>> modulate(layer, "norm", jnp.array([1.0, 10.0]))  # 2 (2 h + 3) + 10
      {'norm': {'bias': Array([16.], dtype=float32), 'scale': Array([4.], dtype=float32)}}
    """

    def at(path: tuple[Any, ...], p: jax.Array) -> jax.Array:
        name, width = path_name(path), shift.shape[0]
        if name == f"{layer}/scale":
            return p * (1 + shift[: width // 2])
        if name == f"{layer}/bias" and width == 2 * len(p):  # FiLM of the affine map: gamma (s h + b) + beta
            return p * (1 + shift[: width // 2]) + shift[width // 2 :]
        return p + shift if name == f"{layer}/bias" else p

    return jax.tree_util.tree_map_with_path(at, params)
