"""Backbones as pure functions: `Model` from flax.linen, from flax.nnx, or from two functions of one's own.

Parameters and state are plain nested dicts for all of them. What BatchNorm and dropout do in a pass is
decided here, once, by the policy table; modules are used as they are. Both adapters also give a module's
convolutions the one that stays fast when every task has its own kernel (`ops`).
"""

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from . import ops
from .types import Key, Model, PyTree, Variables

Norm = Literal["transductive", "support", "running"]


class _Pass(NamedTuple):
    """What one pass through a module does with BatchNorm and dropout."""

    batch_stats: bool  # normalise with the statistics of this batch
    keep: bool  # leave new statistics behind
    exact: bool = False  # new statistics are this batch's own, whatever the momentum
    train: bool = False
    weight: jax.Array | None = None
    key: Key | None = None

    @property
    def deterministic(self) -> bool:
        return not self.train or self.key is None

    @property
    def flags(self) -> dict[str, bool]:  # a module is given those that its call accepts
        stats, still = not self.batch_stats, self.deterministic
        return {"train": self.train, "use_running_average": stats, "deterministic": still}


# (norm, train): the support pass, the query pass
_POLICY = {
    ("transductive", True): (_Pass(True, False), _Pass(True, False)),
    ("transductive", False): (_Pass(True, False), _Pass(True, False)),
    ("support", True): (_Pass(True, True, exact=True), _Pass(False, False)),
    ("support", False): (_Pass(True, True, exact=True), _Pass(False, False)),
    ("running", True): (_Pass(True, False), _Pass(True, True)),
    ("running", False): (_Pass(False, False), _Pass(False, False)),
}


def from_linen(module: Any, *, norm: Norm = "transductive") -> Model:
    """A `flax.linen` module as a `Model`, unchanged.

    Args:
      module: any linen module called as ``module(x)``. Flags named ``train``, ``use_running_average`` and
        ``deterministic`` are passed where its ``__call__`` takes them.
      norm: what BatchNorm uses. ``"transductive"``: every pass the statistics of its own batch, so query
        points see each other (the MAML paper). ``"support"``: the query pass uses the support set's, under the
        adapted parameters; the meta-gradient takes these statistics as constants.
        ``"running"``: batch statistics in training, whose moving average over tasks serves evaluation.

    Raises:
      ValueError: for an unknown ``norm``.
      TypeError: if ``module`` is not a linen module.

    Example:
      >>> from flax import linen
      >>> model = from_linen(linen.Dense(2))
      >>> variables = model.init(jax.random.key(0), jnp.ones((4, 3)))
      >>> model.apply(variables, jnp.ones((4, 3)))[0].shape
      (4, 2)
    """
    from flax import linen

    if not isinstance(module, linen.Module):
        raise TypeError(f"`module` must be a flax.linen module (an instance), got {module!r}. For nnx use `from_nnx`.")
    accepted = _accepted(type(module).__call__)

    def control(how: _Pass, next_fun, args, kwargs, context):
        layer = context.module
        if context.method_name == "__call__":
            if isinstance(layer, linen.Conv) and (layer.conv_general_dilated, layer.conv_general_dilated_cls) == (
                None,
                None,
            ):
                object.__setattr__(layer, "conv_general_dilated", ops.conv_general_dilated)
            elif isinstance(layer, linen.BatchNorm):
                x = args[0] if args else kwargs["x"]
                object.__setattr__(layer, "use_running_average", None)  # the flag of the call decides
                if how.exact:
                    object.__setattr__(layer, "momentum", 0.0)
                return next_fun(
                    x, use_running_average=not how.batch_stats, mask=_mask(how.weight, x, kwargs.get("mask"))
                )
            elif isinstance(layer, linen.Dropout):
                object.__setattr__(layer, "deterministic", None)
                kwargs = {**kwargs, "deterministic": how.deterministic}
                args = args[:1]
        return next_fun(*args, **kwargs)

    def init(key: Key, x: PyTree) -> Variables:
        how = _Pass(True, False)
        with linen.intercept_methods(partial(control, how)):
            variables = dict(module.init(key, x, **_choose(how, accepted)))
        return Variables(variables.pop("params", {}), variables)

    def call(variables: Variables, x: PyTree, how: _Pass) -> tuple[Any, PyTree]:
        rngs = None if how.key is None or how.deterministic else {"dropout": how.key}
        with linen.intercept_methods(partial(control, how)):
            return module.apply(
                {"params": variables.params, **(variables.state or {})},
                x,
                rngs=rngs,
                mutable=list(variables.state),
                **_choose(how, accepted),
            )

    return _with_policy(init, call, norm)


def from_nnx(build: Callable[[Any], Any], *, norm: Norm = "transductive") -> Model:
    """A `flax.nnx` module as a `Model`, unchanged.

    Args:
      build: ``(rngs: nnx.Rngs) -> module``, for instance ``lambda rngs: Net(width=64, rngs=rngs)``. The
        module is split once here and merged inside every pass, so mutation stays inside the pass.
      norm: as for `from_linen`.

    Raises:
      ValueError: for an unknown ``norm``.
      TypeError: if ``build`` is a module instead of a function that makes one.

    Example:
      >>> from flax import nnx
      >>> model = from_nnx(lambda rngs: nnx.Linear(3, 2, rngs=rngs))
      >>> variables = model.init(jax.random.key(0), jnp.ones((4, 3)))
      >>> sorted(variables.params)
      ['bias', 'kernel']
    """
    from flax import nnx

    if isinstance(build, nnx.Module):
        raise TypeError(
            "`build` must be a function of `nnx.Rngs` that returns the module, got a module. Pass `lambda rngs: ...`."
        )
    groups = (nnx.Param, nnx.RngState, ...)  # learned | random streams | everything else

    def prepared(rngs):
        module = build(rngs)
        for _, layer in nnx.iter_modules(module):
            if isinstance(layer, nnx.Conv) and layer.conv_general_dilated is jax.lax.conv_general_dilated:
                layer.conv_general_dilated = ops.conv_general_dilated
            elif isinstance(layer, nnx.BatchNorm | nnx.Dropout):
                object.__setattr__(layer, "__class__", _controlled(type(layer)))
        return module

    shapes = nnx.eval_shape(lambda: prepared(nnx.Rngs(0)))  # no FLOPs
    graph, *templates = nnx.split(shapes, *groups)
    params_def, rngs_def, state_def = map(jax.tree.structure, templates)
    accepted = _accepted(type(shapes).__call__)

    def fill(structure, tree):  # plain dict -> nnx.State
        return jax.tree.unflatten(structure, jax.tree.leaves(tree))

    def stream(i, leaf, key):  # an independent key and a zero counter for every random stream
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.fold_in(key, i) if is_key else jnp.zeros(leaf.shape, leaf.dtype)

    def init(key: Key, x: PyTree) -> Variables:
        del x  # nnx modules know their input shapes
        _, params, _, state = nnx.split(prepared(nnx.Rngs(key)), *groups)
        return Variables(nnx.to_pure_dict(params), nnx.to_pure_dict(state))

    def call(variables: Variables, x: PyTree, how: _Pass) -> tuple[Any, PyTree]:
        base = jax.random.key(0) if how.key is None else how.key
        rngs = [stream(i, leaf, base) for i, leaf in enumerate(jax.tree.leaves(templates[1]))]
        trees = (params_def, variables.params), (rngs_def, rngs), (state_def, variables.state)
        module = nnx.merge(graph, *(fill(*pair) for pair in trees))
        token = _CURRENT.set(how)
        try:
            outputs = module(x, **_choose(how, accepted))
        finally:
            _CURRENT.reset(token)
        _, _, _, state = nnx.split(module, *groups)
        return outputs, nnx.to_pure_dict(state)

    return _with_policy(init, call, norm)


def from_functions(init: Callable, apply: Callable, *, stateful: bool = False) -> Model:
    """Two functions of one's own as a `Model`.

    Args:
      init: ``(key, x) -> Variables``, or bare parameters.
      apply: ``(variables, x, *, key=None) -> outputs``; it may also take ``train`` and ``weight``. ``key`` is
        given in training only.
      stateful: ``apply`` returns ``(outputs, state)``, and the state that training leaves is kept.

    Example:
      >>> model = from_functions(lambda key, x: {"w": jnp.ones(3)}, lambda variables, x: x @ variables.params["w"])
      >>> model.apply(model.init(jax.random.key(0), None), jnp.ones((2, 3)))[0]
      Array([3., 3.], dtype=float32)
    """
    accepted = _accepted(apply)

    def init_variables(key: Key, x: PyTree) -> Variables:
        variables = init(key, x)
        return variables if isinstance(variables, Variables) else Variables(variables)

    def call(variables, x, *, train: bool = False, weight=None, key=None):
        given = {"train": train, "weight": weight, "key": key if train else None}
        result = apply(variables, x, **{name: given[name] for name in given if name in accepted})
        if not stateful:
            return result, variables.state
        outputs, state = result
        return outputs, jax.lax.stop_gradient(state) if train else variables.state

    return Model(init_variables, call, None, keeps_state=stateful)


def identity() -> Model:
    """Inputs as they are, flattened and joined to ``[N, D]``: for learners that bring a network of their own.

    Example:
      >>> identity().apply(Variables(()), {"a": jnp.ones((2, 3)), "b": jnp.zeros((2, 1))})[0].shape
      (2, 4)
    """
    flat = lambda leaf: leaf.reshape(leaf.shape[0], -1)
    join = lambda variables, x: jnp.concatenate([flat(leaf) for leaf in jax.tree.leaves(x)], -1)
    return from_functions(lambda key, x: {}, join)


def _with_policy(init: Callable, call: Callable, norm: str) -> Model:
    if (norm, True) not in _POLICY:
        raise ValueError(f"`norm` must be 'transductive', 'support' or 'running', got {norm!r}.")

    def apply(query, variables, x, *, train=False, weight=None, key=None):
        how = _POLICY[norm, train][query]._replace(train=train, weight=weight, key=key)
        outputs, state = call(variables, x, how)
        if not how.keep:
            return outputs, variables.state
        # nnx.BatchNorm stops gradients through its new statistics and linen's does not: stop both.
        kept = jax.tree.map(lambda new, old: new.astype(old.dtype), state, variables.state)
        return outputs, jax.lax.stop_gradient(kept)

    return Model(init, partial(apply, True), partial(apply, False), keeps_state=norm == "running")


def _mask(weight: jax.Array | None, x: jax.Array, given: jax.Array | None = None) -> jax.Array | None:
    """The weights of a batch as BatchNorm's mask: ``[N]`` or ``[N, L]`` to the leading axes of ``x``."""
    if weight is None:
        return given
    mask = weight != 0
    if mask.shape != x.shape[: mask.ndim] and mask.size == x.shape[0]:
        mask = mask.reshape(-1)  # tokens were merged into examples
    elif mask.shape != x.shape[: mask.ndim] or mask.ndim == x.ndim:
        mask = mask.reshape(mask.shape[0], -1).any(-1)  # tokens were pooled
    if mask.shape != x.shape[: mask.ndim]:
        raise ValueError(
            f"`weight` {weight.shape} cannot hide padding from a BatchNorm over {x.shape}: the leading axes differ. "
            "Keep the example axis first inside the model, or use LayerNorm or GroupNorm."
        )
    mask = mask | ~mask.any()  # with nothing to count, count everything: finite, and hidden by the loss
    mask = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    return mask if given is None else mask & given


_CURRENT: ContextVar[_Pass] = ContextVar("pass")


@cache
def _controlled(cls: type) -> type:
    """`nnx.BatchNorm` or `nnx.Dropout` obeying the current pass, where linen has method interceptors."""
    from flax import nnx

    def batch_norm(self, x, use_running_average=None, *, mask=None):
        how = _CURRENT.get()
        if how.exact:
            self.momentum = 0.0
        return cls.__call__(self, x, not how.batch_stats, mask=_mask(how.weight, x, mask))

    def dropout(self, inputs, *, deterministic=None, rngs=None):
        return cls.__call__(self, inputs, deterministic=_CURRENT.get().deterministic, rngs=rngs)

    return type(cls.__name__, (cls,), {"__call__": batch_norm if issubclass(cls, nnx.BatchNorm) else dropout})


def _accepted(function: Callable) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    anything = any(p.kind == p.VAR_KEYWORD for p in parameters)
    return {"train", "weight", "key"} if anything else {p.name for p in parameters}


def _choose(how: _Pass, accepted: set[str]) -> dict[str, Any]:
    return {name: flag for name, flag in how.flags.items() if name in accepted}
