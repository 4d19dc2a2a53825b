"""A flax.nnx module as a `Model`."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

import jax
import jax.numpy as jnp

from .. import ops
from ..types import Key, Model, PyTree, Variables
from ._linen import obeying
from ._policy import Norm, Pass, named_parameters, norm_mask, with_flags, with_policy


def from_nnx(build: Callable[[Any], Any], *, norm: Norm = "transductive") -> Model:
    """Make a `Model` from a `flax.nnx` module, unchanged.

    The module's ``train()`` or ``eval()`` is called for every pass; flags, layers and random streams follow the pass
    as for `from_linen`. A call that names ``rngs`` gets them. Sown values are dropped.

    Args:
      build: ``(rngs: nnx.Rngs) -> module``, for instance ``lambda rngs: Net(width=64, rngs=rngs)``. The module is
        split once here and merged inside every pass, so mutation stays inside the pass.
      norm: as for `from_linen`.

    Returns:
      A `Model`.

    Raises:
      ValueError: for an unknown ``norm``.
      TypeError: if ``build`` is a module instead of a function that makes one.

    Example:
      >>> from flax import nnx
      >>> model = from_nnx(lambda rngs: nnx.Linear(3, 2, rngs=rngs))
      >>> variables = model.init(jax.random.key(0), jax.numpy.ones((4, 3)))
      >>> sorted(variables.params)
      ['bias', 'kernel']
    """
    from flax import linen, nnx

    if isinstance(build, nnx.Module):
        raise TypeError(
            "`build` must be a function of `nnx.Rngs` that returns the module, got a module. Pass `lambda rngs: ...`."
        )
    groups = (nnx.Param, nnx.RngState, ...)  # learned | random streams | everything else

    def prepared(rngs: Any) -> Any:
        with linen.intercept_methods(obeying(Pass(True, False))):  # for linen modules inside `nnx.bridge.ToNNX`
            module = build(rngs)
        for _, layer in nnx.iter_modules(module):
            if isinstance(layer, nnx.Conv):
                if layer.conv_general_dilated is jax.lax.conv_general_dilated:
                    layer.conv_general_dilated = ops.conv_general_dilated
            elif _has_flags(type(layer)):
                object.__setattr__(layer, "__class__", _controlled(type(layer)))
        return module

    shapes = nnx.eval_shape(lambda: prepared(nnx.Rngs(0)))  # no FLOPs
    graph, *templates = nnx.split(shapes, *groups)
    params_def, rngs_def, state_def = map(jax.tree.structure, templates)
    paths = nnx.to_pure_dict(templates[2])
    takes_rngs = "rngs" in named_parameters(type(shapes).__call__)

    def fill(structure: Any, tree: PyTree) -> Any:  # plain dict -> nnx.State
        return jax.tree.unflatten(structure, jax.tree.leaves(tree))

    def stream(i: int, leaf: Any, key: Key) -> jax.Array:  # an independent key and a zero counter for every stream
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.fold_in(key, i) if is_key else jnp.zeros(leaf.shape, leaf.dtype)

    def init(key: Key, x: PyTree) -> Variables:
        del x  # nnx modules know their input shapes
        _, params, _, state = nnx.split(prepared(nnx.Rngs(key)), *groups)
        return Variables(nnx.to_pure_dict(params), nnx.to_pure_dict(state))

    def call(variables: Variables, x: PyTree, settings: Pass) -> tuple[Any, PyTree]:
        key = jax.random.key(0) if settings.key is None else settings.key
        rngs = [stream(i, leaf, key) for i, leaf in enumerate(jax.tree.leaves(templates[1]))]
        trees = (params_def, variables.params), (rngs_def, rngs), (state_def, variables.state)
        module = nnx.merge(graph, *(fill(*pair) for pair in trees))
        _switch(module, settings)
        token = _CURRENT.set(settings)
        try:
            with linen.intercept_methods(obeying(settings)):
                outputs = module(x, rngs=nnx.Rngs(key)) if takes_rngs else module(x)
        finally:
            _CURRENT.reset(token)
        _, _, _, state = nnx.split(module, *groups)
        return outputs, _same_paths(nnx.to_pure_dict(state), paths)

    return with_policy(init, call, norm)


def _switch(module: Any, settings: Pass) -> None:
    """Put the module into training or evaluation mode, as its user would."""
    from flax import nnx

    modes = {"deterministic": settings.deterministic, "use_running_average": not settings.batch_stats}
    (module.eval if settings.deterministic else module.train)()
    module.set_attributes(**modes, raise_if_not_found=False)
    layers: list[Any] = [layer for _, layer in nnx.iter_modules(module)]
    for layer in layers:
        if hasattr(layer, "set_view"):
            named = named_parameters(type(layer).set_view)
            layer.set_view(**{name: mode for name, mode in modes.items() if name in named})


def _same_paths(tree: Any, paths: Any) -> Any:
    """Keep the entries that the module was built with: what a pass sows is new."""
    if not isinstance(paths, dict):
        return tree
    return {name: _same_paths(tree[name], paths[name]) for name in paths}


_CURRENT: ContextVar[Pass] = ContextVar("pass")


def _has_flags(cls: type) -> bool:
    from flax import nnx

    return issubclass(cls, nnx.BatchNorm) or not named_parameters(cls.__call__).keys().isdisjoint(
        Pass(True, True).flags
    )


@cache
def _controlled(cls: type) -> type:
    """Return the class of a layer that follows the current pass; linen has method interceptors for that."""
    from flax import nnx

    is_norm = issubclass(cls, nnx.BatchNorm)
    built_with = ("deterministic", "use_running_average")

    @wraps(cls.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        settings = _CURRENT.get()
        forced = lambda name: name in built_with and hasattr(self, name)
        args, kwargs = with_flags(cls.__call__, settings, args, kwargs, forced)
        if is_norm:
            if settings.exact:
                self.momentum = 0.0
            x = args[0] if args else kwargs["x"]
            kwargs["mask"] = norm_mask(settings.weight, x, kwargs.get("mask"))
        return cls.__call__(self, *args, **kwargs)

    return type(cls.__name__, (cls,), {"__call__": call})
