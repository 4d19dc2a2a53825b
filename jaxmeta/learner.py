"""What algorithm files import: the default outer loss, the support loss, and small helpers."""

import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from .inner import Gradient, descend
from .losses import LossFn, batch_loss, default_metrics
from .types import Aux, Batch, Key, MetaLearner, Model, PyTree, Task, Variables


class Adapted(NamedTuple):
    """Fast weights: what gradient-based learners return from `adapt`.

    Attributes:
      params: the adapted parameters.
      state: the model's state after the support passes.
      ways: the task's classes, bool ``[W]``, or None.
    """

    params: PyTree
    state: PyTree = ()
    ways: jax.Array | None = None


def episodic(
    init: Callable,
    adapt: Callable,
    forward: Callable,
    loss_fn: LossFn,
    *,
    keeps_state: bool = False,
    metrics: Callable[[Any], dict[str, jax.Array]] | None = None,
) -> MetaLearner:
    r"""The default outer loss: the query loss after adapting on the support set.

    $\ell(\theta) = L_Q(f(\theta, \mathrm{adapt}(\theta, S)))$.

    Args:
      init: ``(key, task) -> meta``.
      adapt: ``(meta, support, key, *, train) -> adapted``.
      forward: ``(meta, adapted, x, key, *, train, weight) -> (outputs, state)``.
      loss_fn: ``(outputs, targets, weight=None)`` -> scalar, or one value per example.
      keeps_state: whether the state that a training query pass leaves outlives the episode.
      metrics: ``adapted -> {name: scalar}``, reported beside the loss: how well a solve converged, for instance.

    Returns:
      A `MetaLearner`; its `predict` also takes ``weight``, to hide padded queries from batch statistics.
    """

    def evaluate_adapt(meta, support, key=None):
        return adapt(meta, support, key, train=False)

    def predict(meta, adapted, x, key=None, *, weight=None):
        return forward(meta, adapted, x, key, train=False, weight=weight)[0]

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_adapt, k_query = split_key(key)
        adapted = adapt(meta, task.support, k_adapt, train=True)
        outputs, state = forward(meta, adapted, task.query.x, k_query, train=True, weight=task.query.weight)
        value = batch_loss(loss_fn, outputs, task.query)
        reported = {} if metrics is None else metrics(adapted)
        reported = {"loss": value, **batch_metrics(outputs, task.query), **reported}
        return value, Aux(state if keeps_state else meta.state, reported)

    return MetaLearner(init, evaluate_adapt, predict, loss)


def fast_weights(model: Model) -> Callable:
    """The `forward` of learners whose `adapt` returns `Adapted`: a query pass with the fast weights."""

    def forward(meta, adapted: Adapted, x, key=None, *, train: bool = False, weight=None):
        del meta  # everything was copied into `adapted`
        variables = Variables(adapted.params, adapted.state)
        outputs, state = model.apply(variables, x, train=train, weight=weight, key=key)
        return mask_ways(outputs, adapted.ways), state

    return forward


def support_loss(model: Model, loss_fn: LossFn, support: Batch, *, train: bool) -> Callable:
    """The inner objective ``(params, state, key) -> (loss, state)`` on a support set."""
    support_pass = model.apply_support or model.apply

    def objective(params, state, key):
        variables = Variables(params, state)
        outputs, state = support_pass(variables, support.x, train=train, weight=support.weight, key=key)
        return batch_loss(loss_fn, mask_ways(outputs, support.ways), support), state

    return objective


def descent(
    model: Model,
    loss_fn: LossFn,
    *,
    num_steps: int,
    batch_size: int | None = None,
    adapt_only: Callable[[str], bool] | None = None,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> Callable:
    """Adaptation by gradient steps on the support loss, the core of MAML and its relatives.

    Args:
      model, loss_fn: as for `maml`.
      num_steps, gradient, remat, truncate: as for `inner.descend`.
      batch_size: every step sees so many support examples, in shuffled passes; all of them by default.
      adapt_only: predicate on a parameter's path that chooses what adapts.

    Returns:
      ``adapt(start, optimizer, support, key, *, train) -> Adapted``.
    """
    if num_steps < 0:
        raise ValueError(f"`num_steps` must be >= 0, got {num_steps}.")

    def adapt(start: Variables, optimizer, support: Batch, key=None, *, train: bool = False) -> Adapted:
        fast, frozen = partition(start.params, adapt_only)
        k_steps, k_rows, k_last = split_key(key, 3)
        rows = (
            None
            if batch_size is None
            else minibatches(k_rows, jax.tree.leaves(support.y)[0].shape[0], batch_size, num_steps)
        )

        def objective(fast, state, step):
            k_step, rows = step
            loss = support_loss(model, loss_fn, take_rows(support, rows), train=train)
            return loss(merge(fast, frozen), state, k_step)

        inputs = (None if key is None else jax.random.split(k_steps, num_steps), rows)
        how = {"gradient": gradient, "remat": remat, "truncate": truncate}
        end = descend(objective, fast, optimizer, num_steps, state=start.state, inputs=inputs, **how)
        params, state = merge(end.params, frozen), end.state
        if model.apply_support is not None:  # the statistics for the queries are those under the adapted parameters
            left = {"train": train, "weight": support.weight, "key": k_last}
            state = model.apply_support(Variables(params, start.state), support.x, **left)[1]
        return Adapted(params, state, support.ways)

    return adapt


def minibatches(key: Key | None, num_examples: int, batch_size: int, num_steps: int) -> jax.Array:
    """Rows for every step, ``[num_steps, batch_size]``: shuffled passes over the examples, one after the other.

    Example:
      >>> rows = minibatches(jax.random.key(0), 4, 2, 2)
      >>> sorted(rows.reshape(-1).tolist())
      [0, 1, 2, 3]
    """
    if not 0 < batch_size <= num_examples:
        raise ValueError(f"`batch_size` must be 1 to {num_examples}, the size of the support set, got {batch_size}.")
    key = jax.random.key(0) if key is None else key
    passes = -(-num_steps * batch_size // num_examples)
    rows = jax.vmap(lambda k: jax.random.permutation(k, num_examples))(jax.random.split(key, max(passes, 1)))
    return rows.reshape(-1)[: num_steps * batch_size].reshape(num_steps, batch_size)


def take_rows(batch: Batch, rows: jax.Array | None) -> Batch:
    """The given examples of a batch; all of them for None."""
    if rows is None:
        return batch
    x, y, weight = jax.tree.map(lambda leaf: leaf[rows], (batch.x, batch.y, batch.weight))
    return Batch(x, y, weight, batch.ways)


def init_model(model: Model) -> Callable:
    """A learner's `init` for meta-parameters that are just the model's."""
    return lambda key, task: model.init(key, task.support.x)


def batch_metrics(outputs: Any, batch: Batch) -> dict[str, jax.Array]:
    """The default metrics of a batch, as scalars."""
    metrics = default_metrics(outputs, batch.y)
    return {name: metric(outputs, batch.y, batch.weight) for name, metric in metrics.items()}


def count_ways(batch: Batch, given: int | None, name: str = "num_ways") -> int:
    """The static number of ways of a batch: the length of its ``ways``, or else ``given``, the argument `name`.

    Raises:
      ValueError: if neither is there.

    Example:
      >>> count_ways(Batch(None, None, ways=jnp.ones(3, bool)), None)
      3
    """
    width = given if batch.ways is None else len(batch.ways)
    if width is None:
        raise ValueError(f"The number of ways is unknown: fill `Batch.ways`, or pass `{name}` to the factory.")
    return width


def mask_ways(outputs: Any, ways: jax.Array | None) -> Any:
    """Gives classes that a task does not have the lowest finite logit.

    Raises:
      ValueError: if there are fewer or more logits than ways.

    Example:
      >>> mask_ways(jnp.array([[1.0, 2.0]]), jnp.array([True, False])).argmax()
      Array(0, dtype=int32)
    """
    if ways is None:
        return outputs
    if outputs.shape[-1] != ways.shape[0]:
        raise ValueError(
            f"The model gives {outputs.shape[-1]} logits but the task has {ways.shape[0]} ways. "
            f"Build the model with `num_outputs={ways.shape[0]}`, or sample tasks with `num_ways={outputs.shape[-1]}`."
        )
    return jnp.where(ways, outputs, jnp.finfo(outputs.dtype).min)


def partition(params: PyTree, adapt_only: Callable[[str], bool] | None) -> tuple[PyTree, PyTree]:
    """Splits parameters by path into (adapted, frozen); the other's leaves are None in each.

    Args:
      params: nested dict.
      adapt_only: predicate on the path, for instance ``"head/kernel"``; None adapts everything.

    Raises:
      ValueError: if no path is chosen.

    Example:
      >>> partition({"body": 1.0, "head": 2.0}, lambda path: path == "head")
      ({'body': None, 'head': 2.0}, {'body': 1.0, 'head': None})
    """
    if adapt_only is None:
        return params, jax.tree.map(lambda _: None, params)
    chosen = jax.tree_util.tree_map_with_path(lambda path, _: bool(adapt_only(path_name(path))), params)
    if not any(jax.tree.leaves(chosen)):
        paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        raise ValueError(f"`adapt_only` chooses none of the parameters, so nothing would adapt. Their paths: {paths}.")
    fast = jax.tree.map(lambda yes, p: p if yes else None, chosen, params)
    return fast, jax.tree.map(lambda yes, p: None if yes else p, chosen, params)


def path_name(path: Any) -> str:
    """A leaf's path in a nested dict, as ``"head/kernel"``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def merge(fast: PyTree, frozen: PyTree) -> PyTree:
    """The inverse of `partition`."""
    return jax.tree.map(lambda f, p: p if f is None else f, fast, frozen, is_leaf=lambda leaf: leaf is None)


def weighted_predict(learner: MetaLearner) -> Callable:
    """The learner's `predict`, which may be given ``weight`` whether it takes one or not."""
    if "weight" in inspect.signature(learner.predict).parameters:
        return learner.predict
    return lambda meta, adapted, x, key=None, *, weight=None: learner.predict(meta, adapted, x, key)


def split_key(key: Key | None, num: int = 2) -> Any:
    """``num`` keys, or as many None: no key asks for a deterministic pass."""
    return [None] * num if key is None else jax.random.split(key, num)
