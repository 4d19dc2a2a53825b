"""MAML made stable: every inner step counts in the loss, has its own learned step sizes and its own BatchNorm.

Antoniou, Edwards and Storkey, 2019, https://arxiv.org/abs/1810.09502
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..embedding import support_state
from ..inner import Descent, Gradient, descend
from ..learner import Adapted, Objective, batch_metrics, episodic, fast_weights, split_key, support_loss
from ..losses import LossFn, batch_loss
from ..paths import merge, partition, path_name
from ..types import Aux, Batch, Key, MetaLearner, Model, PyTree, Task, Variables


def maml_plus_plus(
    model: Model,
    loss_fn: LossFn,
    *,
    inner_lr: float = 0.1,
    num_steps: int = 5,
    multi_step_until: int = 5_000,
    first_order_until: int = 0,
    per_step_norm: bool = True,
    adapt_only: Callable[[str], bool] | None = None,
    gradient: Gradient = "mixed",
) -> MetaLearner:
    r"""MAML++: $\phi_{k+1} = \phi_k - \alpha_k \circ \nabla L_S(\phi_k; \beta_k)$, outer loss $\sum_k w_k L_Q(\phi_k)$.

    * **Rates**: $\alpha_k$, one for each step and parameter array, are learned.
    * **Multi-step loss**: with $K$ steps, at meta-step $s$ of $S$ = ``multi_step_until``,
      $w_k = \max(0, 1 - s/S) / K$ for $k < K$, and $w_K = 1 - \sum_{k<K} w_k$: first all steps count alike, in the end
      only the last. (The authors' code keeps a floor of $0.03 / K$ until $S$.)
    * **BatchNorm per step**: its scales and biases $\beta_k$, $k = 0 \dots K$, are learned for each step and do not
      adapt. Its statistics are kept for each step: those of number $k$ belong to $\phi_k$, from support passes for
      $k < K$ and from query passes for $K$. Running statistics need a model with ``norm="running"``.
    * **Order**: before meta-step ``first_order_until`` second derivatives are dropped, and not computed.

    ``meta.params`` is ``{"model": ..., "lr": {"conv0/kernel": [K], ...}}``, where BatchNorm's arrays in ``"model"``
    have a leading axis of $K + 1$, as has everything in ``meta.state["model"]``; ``meta.state["step"]`` counts the
    meta-steps that were not skipped. A test-time learner with more steps repeats the last rates and statistics.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      inner_lr: initial value of every rate.
      num_steps: inner steps $K$.
      multi_step_until: the meta-step $S$ from which only the last step counts; 0: always.
      first_order_until: the meta-step from which second derivatives are taken.
      per_step_norm: BatchNorm per step, where the model has any.
      adapt_only, gradient: as for `maml`.

    Returns:
      A `MetaLearner`; `adapt` returns `Adapted` parameters. Its metrics are those after the last step.

    Raises:
      ValueError: if ``num_steps`` or a meta-step is negative, ``adapt_only`` chooses nothing, or `meta` is trained
        with another number of steps than it was made for.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=1))
      >>> meta = maml_plus_plus(model, jm.losses.mse).init(jax.random.key(0), jm.tasks.sinusoid()(jax.random.key(1)))
      >>> {path: rates.shape for path, rates in sorted(meta.params["lr"].items())}["head/kernel"]
      (5,)
    """
    _check(num_steps=num_steps, multi_step_until=multi_step_until, first_order_until=first_order_until)
    forward = fast_weights(model)

    def groups_of(state: PyTree) -> frozenset[str]:
        return _norm_groups(state) if per_step_norm else frozenset()

    def init(key: Key, task: Task) -> Variables:
        params, state = model.init(key, task.support.x)
        groups = groups_of(state)
        fast = jax.tree_util.tree_leaves_with_path(_split(params, groups, adapt_only)[0])
        rates = {path_name(path): jnp.full((num_steps,), inner_lr, p.dtype) for path, p in fast}
        repeat: Callable[[jax.Array], jax.Array] = lambda leaf: jnp.broadcast_to(leaf, (num_steps + 1, *leaf.shape))
        params = _map_norm(repeat, params, groups)
        state = jax.tree.map(repeat, state) if groups else state
        return Variables({"model": params, "lr": rates}, {"model": state, "step": jnp.zeros((), jnp.int32)})

    def inner_of(meta: Variables, support: Batch, *, train: bool, gradient: Gradient) -> _Inner:
        states = meta.state["model"]
        groups = groups_of(states)
        fast, frozen = _split(meta.params["model"], groups, adapt_only)
        # Under "running" the support passes of training leave statistics too, which `apply` returns.
        plain = per_step_norm and model.keeps_state
        support_model = model._replace(apply_support=None) if plain else model
        objective = support_loss(support_model, loss_fn, support, train=train)
        return _Inner(model, objective, support, train, gradient, fast, frozen, states, meta.params["lr"], groups)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        return _walk(inner_of(meta, support, train=train, gradient=gradient), num_steps, key)[0]

    def run(gradient: Gradient, meta: Variables, task: Task, key: Key | None) -> tuple[jax.Array, Aux]:
        query, done = task.query, meta.state["step"]
        several = multi_step_until > 0 and num_steps > 1
        each = jnp.maximum(0.0, 1.0 - done / max(multi_step_until, 1)) / max(num_steps, 1)  # w_k for k < K

        def pass_query(adapted: Adapted, key: Key | None) -> tuple[jax.Array, jax.Array, PyTree]:
            outputs, state = forward(meta, adapted, query.x, key, train=True, weight=query.weight)
            return batch_loss(loss_fn, outputs, query), outputs, state

        def measure(adapted: Adapted, k: jax.Array, key: Key | None) -> jax.Array:
            value = lambda: pass_query(adapted, key)[0]
            nothing = lambda: jnp.zeros((), jax.eval_shape(value).dtype)
            return jax.lax.cond((k < num_steps - 1) & (each > 0), value, nothing)

        k_adapt, k_query = split_key(key)
        inner = inner_of(meta, task.support, train=True, gradient=gradient)
        adapted, kept, values = _walk(inner, num_steps, k_adapt, measure if several else None)
        last, outputs, state = pass_query(adapted, k_query)
        weight = each.astype(last.dtype)
        value = weight * values.sum() + (1 - (num_steps - 1) * weight) * last if several else last
        if not model.keeps_state:
            state = meta.state["model"]
        elif jax.tree.leaves(kept):
            state = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), kept, state)
        metrics = {"loss": last, **batch_metrics(outputs, query)}
        return value, Aux({"model": state, "step": done + 1}, metrics)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        _check_steps(meta, num_steps)
        if first_order_until == 0:
            return run(gradient, meta, task, key)
        early, late = partial(run, "first_order"), partial(run, gradient)
        return jax.lax.cond(meta.state["step"] < first_order_until, early, late, meta, task, key)

    return episodic(init, adapt, forward, loss_fn, loss=loss)


class _Inner(NamedTuple):
    """The inner problem of one task.

    Attributes:
      model: the backbone, which makes the statistics for the queries.
      objective: the support loss.
      support, train, gradient: as for `adapt` and `inner.descend`.
      fast: the parameters that adapt, at the start.
      frozen: the others; BatchNorm's have a leading axis of steps.
      states: the model's state, with a leading axis of steps where there are ``groups``.
      rates: ``{"path": [K]}``.
      groups: the paths of the BatchNorm layers that have one set of arrays per step.
    """

    model: Model
    objective: Objective
    support: Batch
    train: bool
    gradient: Gradient
    fast: PyTree
    frozen: PyTree
    states: PyTree
    rates: dict[str, jax.Array]
    groups: frozenset[str]


Measure = Callable[[Adapted, jax.Array, Key | None], jax.Array]


def _walk(
    inner: _Inner, num_steps: int, key: Key | None, measure: Measure | None = None
) -> tuple[Adapted, PyTree, jax.Array]:
    """Take all inner steps.

    Returns the adapted parameters; the statistics of each support pass ``[K, ...]``, where they are kept per step; and
    ``measure(adapted, k, key)`` after each step ``[K]``.
    """
    per_step = bool(inner.groups)
    nothing = jnp.zeros(num_steps)

    def step(carry: tuple[PyTree, PyTree], given: tuple[Any, ...]) -> tuple[tuple[PyTree, PyTree], Any]:
        (fast, state), (k, k_step, k_ready, k_measure) = carry, given
        end = _step(inner, fast, state, k, k_step)
        value = () if measure is None else measure(_ready(inner, end.params, end.state, k + 1, k_ready), k, k_measure)
        return (end.params, () if per_step else end.state), (end.state if per_step else (), value)

    *keys, k_last = split_key(key, 4)
    given = jnp.arange(num_steps), *(None if k is None else jax.random.split(k, num_steps) for k in keys)
    start = inner.fast, () if per_step else inner.states
    if num_steps == 0:
        kept = jax.tree.map(lambda a: a[:0], inner.states) if per_step else ()
        return _ready(inner, *start, 0, k_last), kept, nothing
    end, (kept, values) = jax.lax.scan(step, start, given)
    return _ready(inner, *end, num_steps, k_last), kept, nothing if measure is None else values


def _step(inner: _Inner, fast: PyTree, state: PyTree, k: jax.Array, key: Key | None) -> Descent:
    """Take step ``k`` with its rates, from ``fast``."""

    def objective(fast: PyTree, state: PyTree, key: Key | None) -> tuple[jax.Array, PyTree]:
        return inner.objective(_params_at(inner, fast, k), state, key)

    def scale(path: Any, grad: jax.Array) -> jax.Array:
        return -_at(inner.rates[path_name(path)], k) * grad

    rule = optax.stateless(lambda grads, _: jax.tree_util.tree_map_with_path(scale, grads))
    inputs = None if key is None else key[None]
    state = _state_at(inner, state, k)
    return descend(objective, fast, rule, 1, state=state, inputs=inputs, gradient=inner.gradient)


def _ready(inner: _Inner, fast: PyTree, state: PyTree, k: jax.Array | int, key: Key | None) -> Adapted:
    """Return the parameters after ``k`` steps, with the statistics for the queries."""
    params, state = _params_at(inner, fast, k), _state_at(inner, state, k)
    variables = Variables(params, state)
    state = support_state(inner.model, variables, inner.support, key, train=inner.train, default=state)
    return Adapted(params, state, inner.support.ways)


def _params_at(inner: _Inner, fast: PyTree, k: jax.Array | int) -> PyTree:
    return _map_norm(partial(_at, k=k), merge(fast, inner.frozen), inner.groups)


def _state_at(inner: _Inner, state: PyTree, k: jax.Array | int) -> PyTree:
    return jax.tree.map(partial(_at, k=k), inner.states) if inner.groups else state


def _split(params: PyTree, groups: frozenset[str], adapt_only: Callable[[str], bool] | None) -> tuple[PyTree, PyTree]:
    """Split parameters into those that adapt and the others; BatchNorm's per-step arrays do not adapt."""
    adapts = lambda path: not _is_norm(path, groups) and (adapt_only is None or adapt_only(path))
    return partition(params, adapts)


def _map_norm(function: Callable[[jax.Array], jax.Array], params: PyTree, groups: frozenset[str]) -> PyTree:
    """Apply a function to the arrays of the BatchNorm layers."""
    change = lambda path, p: function(p) if _is_norm(path_name(path), groups) else p
    return jax.tree_util.tree_map_with_path(change, params)


def _is_norm(path: str, groups: frozenset[str]) -> bool:
    return path.rpartition("/")[0] in groups


def _norm_groups(state: PyTree) -> frozenset[str]:
    """Return the paths of BatchNorm layers: those that own a running ``mean``."""
    names = [path_name(path).removeprefix("batch_stats/") for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    return frozenset(name.rpartition("/")[0] for name in names if name.rpartition("/")[2] == "mean")


def _at(leaf: jax.Array, k: jax.Array | int) -> jax.Array:
    """Return the entry of step ``k``; steps beyond the last one repeat it."""
    return leaf[jnp.minimum(k, leaf.shape[0] - 1)]


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 0:
            raise ValueError(f"`{name}` must be >= 0, got {value}.")


def _check_steps(meta: Variables, num_steps: int) -> None:
    made_for = {rates.shape[0] for rates in meta.params["lr"].values()}
    if made_for != {num_steps}:
        raise ValueError(
            f"`num_steps` is {num_steps} but `meta` has rates for {max(made_for)} steps. Train with the number of "
            "steps that `init` was given; another number is for `adapt` and `predict`."
        )
