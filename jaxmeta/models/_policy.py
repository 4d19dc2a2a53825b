"""The BatchNorm and dropout policy: one table for linen and nnx, and the flags by which modules obey it."""

import inspect
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, Literal, NamedTuple, Protocol

import jax

from ..types import Key, MetaLearner, Model, ModelInit, PyTree, Variables

Norm = Literal["transductive", "support", "running"]


class Pass(NamedTuple):
    """Say what BatchNorm and dropout do in one pass through a module.

    Attributes:
      batch_stats: normalise with the statistics of this batch, instead of the running ones.
      keep: return the new statistics, instead of the old ones.
      exact: the new statistics are this batch's own, whatever the momentum.
      train: whether the pass is a training pass.
      weight: the weights of the examples; 0 hides an example from batch statistics.
      key: the key of the pass; without one, dropout does nothing.
    """

    batch_stats: bool
    keep: bool
    exact: bool = False
    train: bool = False
    weight: jax.Array | None = None
    key: Key | None = None

    @property
    def deterministic(self) -> bool:
        """Return whether dropout does nothing."""
        return not self.train or self.key is None

    @property
    def flags(self) -> dict[str, bool]:
        """Return the value of every flag that a module's call may name."""
        return {
            "train": self.train,
            "training": self.train,
            "is_training": self.train,
            "update_stats": self.train,
            "use_running_average": not self.batch_stats,
            "deterministic": self.deterministic,
        }


# (norm, train): the support pass, the query pass
_POLICY: dict[tuple[str, bool], tuple[Pass, Pass]] = {
    ("transductive", True): (Pass(True, False), Pass(True, False)),
    ("transductive", False): (Pass(True, False), Pass(True, False)),
    ("support", True): (Pass(True, True, exact=True), Pass(False, False)),
    ("support", False): (Pass(True, True, exact=True), Pass(False, False)),
    ("running", True): (Pass(True, False), Pass(True, True)),
    ("running", False): (Pass(False, False), Pass(False, False)),
}

_INDUCTIVE: ContextVar[bool] = ContextVar("inductive", default=False)


class Call(Protocol):
    """One pass through a module: outputs, and the module's state after it."""

    def __call__(self, variables: Variables, x: PyTree, settings: Pass, /) -> tuple[Any, PyTree]: ...


def with_policy(init: ModelInit, call: Call, norm: str) -> Model:
    """Make a `Model` of a module whose passes follow the policy ``norm``.

    Raises:
      ValueError: for an unknown ``norm``.
    """
    if (norm, True) not in _POLICY:
        raise ValueError(f"`norm` must be 'transductive', 'support' or 'running', got {norm!r}.")

    def apply(
        is_query: bool,
        variables: Variables,
        x: PyTree,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        key: Key | None = None,
    ) -> tuple[Any, PyTree]:
        policy = "support" if norm == "transductive" and _INDUCTIVE.get() else norm
        settings = _POLICY[policy, train][is_query]._replace(train=train, weight=weight, key=key)
        outputs, state = call(variables, x, settings)
        if not settings.keep:
            return outputs, variables.state
        # nnx.BatchNorm stops gradients through its new statistics and linen's does not: stop both.
        kept = jax.tree.map(lambda new, old: new.astype(old.dtype), state, variables.state)
        return outputs, jax.lax.stop_gradient(kept)

    return Model(init, partial(apply, True), partial(apply, False), keeps_state=norm == "running")


def inductive(learner: MetaLearner) -> MetaLearner:
    """Return the learner with predictions that do not depend on one another through BatchNorm.

    `adapt` and `predict` treat every flax model made with ``norm="transductive"`` as one made with
    ``norm="support"``: queries are normalised by the statistics of the support set under the adapted parameters.
    `meta` is the same, so any trained learner can be used this way; `init` and `loss` stay as they are. Learners that
    are transductive by their algorithm (`soft_kmeans`) remain so, as `evaluate` reports.

    Args:
      learner: any learner. The policy is chosen while `adapt` and `predict` are traced, so a learner whose functions
        are jitted must be built anew instead.

    Returns:
      A `MetaLearner`. Use both of its functions: `predict` reads the statistics that its own `adapt` left.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=3, norm=True))
      >>> learner = inductive(jm.maml(model, jm.losses.cross_entropy))
    """

    def adapt(meta: Variables, support: Any, key: Key | None = None) -> Any:
        with _inductive():
            return learner.adapt(meta, support, key)

    def predict(
        meta: Variables, adapted: Any, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None
    ) -> Any:
        with _inductive():
            if weight is None:
                return learner.predict(meta, adapted, x, key)
            return learner.predict(meta, adapted, x, key, weight=weight)

    return learner._replace(adapt=adapt, predict=predict)


@contextmanager
def _inductive() -> Any:
    token = _INDUCTIVE.set(True)
    try:
        yield
    finally:
        _INDUCTIVE.reset(token)


def norm_mask(weight: jax.Array | None, x: jax.Array, given: jax.Array | None = None) -> jax.Array | None:
    """Return the mask for a BatchNorm over ``x`` that hides examples of weight 0.

    Args:
      weight: ``[N]`` or ``[N, L]``, matched to the leading axes of ``x``; tokens may have been merged into examples
        or pooled.
      x: the input of the BatchNorm.
      given: a mask that the module passed itself.

    Raises:
      ValueError: if the leading axes do not match.
    """
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


@cache
def named_parameters(function: Callable[..., Any]) -> dict[str, int | None]:
    """Return the parameters that a call names, with their positions after ``self``; None for keyword-only ones.

    ``**kwargs`` names nothing: a wrapper hands on what it gets, and what it wraps may not take it.

    Example:
      >>> def call(self, x, train=False, *, key=None, **kwargs): ...
      >>> named_parameters(call)
      {'x': 0, 'train': 1, 'key': None}
    """
    named: dict[str, int | None] = {}
    for position, p in enumerate(list(inspect.signature(function).parameters.values())[1:]):
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            named[p.name] = position
        elif p.kind == p.KEYWORD_ONLY:
            named[p.name] = None
    return named


def with_flags(
    function: Callable[..., Any],
    settings: Pass,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    forced: Callable[[str], bool],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a module's call with the flags of the pass.

    A flag is filled in where the call names it and the caller left it out, or where ``forced(name)``.
    """
    named, args_list, kwargs = named_parameters(function), list(args), dict(kwargs)
    for name, value in settings.flags.items():
        if name not in named:
            continue
        position = named[name]
        is_positional = position is not None and position < len(args_list)
        if (is_positional or name in kwargs) and not forced(name):
            continue
        if position is not None and position <= len(args_list):
            args_list[position : position + 1] = [value]  # transforms such as `remat` know static arguments by place
            kwargs.pop(name, None)
        else:
            kwargs[name] = value
    return tuple(args_list), kwargs
