"""A flax.linen module as a `Model`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from .. import ops
from ..types import Key, Model, PyTree, Variables
from ._policy import Norm, Pass, named_parameters, norm_mask, with_flags, with_policy


def from_linen(module: Any, *, norm: Norm = "transductive") -> Model:
    """Make a `Model` from a `flax.linen` module, unchanged.

    Every call inside the module gets the flags ``train``, ``training``, ``is_training``, ``deterministic``,
    ``use_running_average`` and ``update_stats`` that it names and was not given. Layers that can be built with
    ``deterministic`` or ``use_running_average`` (BatchNorm, Dropout, attention) follow the pass, however they were
    built or called. Random streams of any name work: in evaluation without a key they are fixed. Sown values are
    dropped; other collections are part of the state.

    Args:
      module: any linen module called as ``module(x)``.
      norm: the statistics that BatchNorm uses. ``"transductive"``: every pass uses those of its own batch, so query
        points see each other (the MAML paper); see `inductive` for predictions without that. ``"support"``: the query
        pass uses the support set's, under the adapted parameters; the meta-gradient takes these statistics as
        constants. ``"running"``: batch statistics in training, whose moving average over tasks serves evaluation.

    Returns:
      A `Model`.

    Raises:
      ValueError: for an unknown ``norm``.
      TypeError: if ``module`` is not a linen module.

    Example:
      >>> from flax import linen
      >>> model = from_linen(linen.Dense(2))
      >>> variables = model.init(jax.random.key(0), jax.numpy.ones((4, 3)))
      >>> model.apply(variables, jax.numpy.ones((4, 3)))[0].shape
      (4, 2)
    """
    from flax import linen

    if not isinstance(module, linen.Module):
        raise TypeError(f"`module` must be a flax.linen module (an instance), got {module!r}. For nnx use `from_nnx`.")

    def run(function: Callable[..., Any], x: PyTree, settings: Pass) -> Any:
        with linen.intercept_methods(obeying(settings)):
            try:
                return function(x)
            except ValueError as error:
                if "static_argnums" not in str(error):
                    raise
            # `linen.remat(Net, static_argnums=...)` looks at its arguments before any interceptor.
            args, flags = with_flags(type(module).__call__, settings, (x,), {}, lambda name: False)
            return function(*args, **flags)

    def init(key: Key, x: PyTree) -> Variables:
        variables = dict(run(lambda *args, **flags: module.init(key, *args, **flags), x, Pass(True, False)))
        params = variables.pop("params", {})
        return Variables(params, _without_sown(variables))

    def call(variables: Variables, x: PyTree, settings: Pass) -> tuple[Any, PyTree]:
        key = jax.random.key(0) if settings.key is None else settings.key
        rngs = {"dropout": key, "params": jax.random.fold_in(key, 1)}  # linen takes "params" for any other stream
        collections = variables.state or {}
        given = {"params": variables.params, **collections}

        def apply(*args: Any, **flags: Any) -> Any:
            return module.apply(given, *args, rngs=rngs, mutable=list(collections), **flags)

        outputs, state = run(apply, x, settings)
        return outputs, _without_sown(dict(state))

    return with_policy(init, call, norm)


def obeying(settings: Pass) -> Callable[..., Any]:
    """Return the interceptor of linen calls that makes every layer follow the pass."""
    return partial(_control, settings)


def _control(settings: Pass, next_fun: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
    from flax import linen

    layer = context.module
    if context.method_name != "__call__":
        return next_fun(*args, **kwargs)
    if isinstance(layer, linen.Conv):
        if layer.conv_general_dilated is None and layer.conv_general_dilated_cls is None:
            object.__setattr__(layer, "conv_general_dilated", ops.conv_general_dilated)
        return next_fun(*args, **kwargs)
    built_with = [name for name in ("deterministic", "use_running_average") if hasattr(layer, name)]
    args, kwargs = with_flags(type(layer).__call__, settings, args, kwargs, built_with.__contains__)
    for name in built_with:
        if name in named_parameters(type(layer).__call__):
            object.__setattr__(layer, name, None)  # the flag of the call decides
    if isinstance(layer, linen.BatchNorm):
        if settings.exact:
            object.__setattr__(layer, "momentum", 0.0)
        x = args[0] if args else kwargs["x"]
        kwargs = {**kwargs, "mask": norm_mask(settings.weight, x, kwargs.get("mask"))}
    return next_fun(*args, **kwargs)


def _without_sown(tree: Any) -> Any:
    """Drop what `sow` collects: tuples that grow with every pass, and the collections that hold nothing else."""
    if not isinstance(tree, dict):
        return tree
    kept = {name: _without_sown(value) for name, value in tree.items() if not isinstance(value, tuple)}
    is_empty = lambda value: isinstance(value, dict) and not value
    return {name: value for name, value in kept.items() if not is_empty(value) or is_empty(tree[name])}
