"""MAML made stable: every inner step counts in the loss, has its own learned step sizes and its own BatchNorm.

Antoniou, Edwards and Storkey, 2019, https://arxiv.org/abs/1810.09502
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ..inner import Gradient, descend
from ..learner import (
    Adapted,
    batch_metrics,
    episodic,
    fast_weights,
    merge,
    partition,
    path_name,
    split_key,
    support_loss,
)
from ..losses import LossFn, batch_loss
from ..types import Aux, Batch, MetaLearner, Model, PyTree, Task, Variables


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
      $w_k = \max(0, 1 - s/S) / K$ for $k < K$, and $w_K$ is what is missing to 1: first all steps count alike, in the
      end only the last. (The authors' code keeps a floor of $0.03 / K$ until $S$.)
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
      inner_lr: where every rate starts.
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
    # Under "running" the support passes of training leave statistics too, which `apply` returns.
    support_model = model._replace(apply_support=None) if per_step_norm and model.keeps_state else model

    def is_norm(state: PyTree) -> Callable[[str], bool]:
        groups = _norm_groups(state) if per_step_norm else set()
        return lambda path: path.rpartition("/")[0] in groups

    def split(params: PyTree, norm: Callable[[str], bool]) -> tuple[PyTree, PyTree]:
        return partition(params, lambda path: not norm(path) and (adapt_only is None or adapt_only(path)))

    def init(key, task: Task) -> Variables:
        params, state = model.init(key, task.support.x)
        norm = is_norm(state)
        fast = jax.tree_util.tree_leaves_with_path(split(params, norm)[0])
        rates = {path_name(path): jnp.full((num_steps,), inner_lr, p.dtype) for path, p in fast}
        repeat = lambda leaf: jnp.broadcast_to(leaf, (num_steps + 1, *leaf.shape))
        params = jax.tree_util.tree_map_with_path(lambda path, p: repeat(p) if norm(path_name(path)) else p, params)
        state = jax.tree.map(repeat, state) if per_step_norm and _norm_groups(state) else state
        return Variables({"model": params, "lr": rates}, {"model": state, "step": jnp.zeros((), jnp.int32)})

    def walk(meta: Variables, support: Batch, key, look: Callable | None, *, train: bool, gradient: Gradient) -> Any:
        """All inner steps: where they end, and from each the statistics of its support pass and ``look(adapted)``."""
        norm, states = is_norm(meta.state["model"]), meta.state["model"]
        stepped = per_step_norm and bool(_norm_groups(states))
        start, frozen = split(meta.params["model"], norm)

        def params_at(fast: PyTree, k) -> PyTree:
            pick = lambda path, p: _at(p, k) if norm(path_name(path)) else p
            return jax.tree_util.tree_map_with_path(pick, merge(fast, frozen))

        def state_at(state: PyTree, k) -> PyTree:
            return jax.tree.map(partial(_at, k=k), states) if stepped else state

        def ready(fast: PyTree, state: PyTree, k, key) -> Adapted:
            params, state = params_at(fast, k), state_at(state, k)
            if model.apply_support is not None:  # the statistics for the queries are those under these parameters
                how = {"train": train, "weight": support.weight, "key": key}
                state = model.apply_support(Variables(params, state), support.x, **how)[1]
            return Adapted(params, state, support.ways)

        def step(carry, given):
            (fast, state), (k, k_step, k_ready, k_look) = carry, given

            def objective(fast, state, k_step):
                return support_loss(support_model, loss_fn, support, train=train)(params_at(fast, k), state, k_step)

            scale = lambda path, g: -_at(meta.params["lr"][path_name(path)], k) * g
            rule = optax.stateless(lambda grads, _: jax.tree_util.tree_map_with_path(scale, grads))
            inputs = None if k_step is None else k_step[None]
            end = descend(objective, fast, rule, 1, state=state_at(state, k), inputs=inputs, gradient=gradient)
            seen = look(ready(end.params, end.state, k + 1, k_ready), k, k_look) if look else ()
            return (end.params, () if stepped else end.state), (end.state if stepped else (), seen)

        *keys, k_last = split_key(key, 4)
        given = jnp.arange(num_steps), *(None if k is None else jax.random.split(k, num_steps) for k in keys)
        none_yet = jax.tree.map(lambda a: a[:0], states) if stepped else ()
        carry, seen = (start, () if stepped else states), (none_yet, ())
        if num_steps:
            carry, seen = jax.lax.scan(step, carry, given)
        return ready(*carry, num_steps, k_last), *seen

    def adapt(meta: Variables, support: Batch, key=None, *, train: bool = False) -> Adapted:
        return walk(meta, support, key, None, train=train, gradient=gradient)[0]

    def run(gradient: Gradient, meta: Variables, task: Task, key) -> tuple[jax.Array, Aux]:
        query, state, done = task.query, meta.state["model"], meta.state["step"]
        several = multi_step_until > 0 and num_steps > 1
        each = jnp.maximum(0.0, 1.0 - done / max(multi_step_until, 1)) / max(num_steps, 1)  # w_k for k < K

        def pass_query(adapted: Adapted, key) -> tuple[jax.Array, jax.Array, PyTree]:
            outputs, state = forward(meta, adapted, query.x, key, train=True, weight=query.weight)
            return batch_loss(loss_fn, outputs, query), outputs, state

        def look(adapted: Adapted, k, key):
            value = lambda: pass_query(adapted, key)[0]
            nothing = lambda: jnp.zeros((), jax.eval_shape(value).dtype)
            return jax.lax.cond((k < num_steps - 1) & (each > 0), value, nothing)

        k_adapt, k_query = split_key(key)
        looking = look if several else None
        adapted, kept, values = walk(meta, task.support, k_adapt, looking, train=True, gradient=gradient)
        last, outputs, new = pass_query(adapted, k_query)
        weight = each.astype(last.dtype)
        value = weight * values.sum() + (1 - (num_steps - 1) * weight) * last if several else last
        if model.keeps_state:
            stepped = jax.tree.leaves(kept)
            state = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), kept, new) if stepped else new
        metrics = {"loss": last, **batch_metrics(outputs, query)}
        return value, Aux({"model": state, "step": done + 1}, metrics)

    def loss(meta: Variables, task: Task, key=None) -> tuple[jax.Array, Aux]:
        _check_steps(meta, num_steps)
        if first_order_until == 0:
            return run(gradient, meta, task, key)
        early, late = partial(run, "first_order"), partial(run, gradient)
        return jax.lax.cond(meta.state["step"] < first_order_until, early, late, meta, task, key)

    return episodic(init, adapt, forward, loss_fn)._replace(loss=loss)


def _norm_groups(state: PyTree) -> set[str]:
    """The paths of BatchNorm layers: what owns a running ``mean``."""
    names = [path_name(path).removeprefix("batch_stats/") for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    return {name.rpartition("/")[0] for name in names if name.rpartition("/")[2] == "mean"}


def _at(leaf: jax.Array, k) -> jax.Array:
    """What step ``k`` uses; steps beyond the last one repeat it."""
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
