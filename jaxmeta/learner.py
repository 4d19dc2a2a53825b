"""The parts that algorithm files share: the default outer loss, inner steps on the support set, and embeddings.

Letters: N examples of one set, W ways.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import jax
import optax

from .embedding import embed, embed_support, output_shape, support_pass, support_state
from .inner import Gradient, descend
from .losses import LossFn, batch_loss, default_metrics
from .passes import with_passes
from .paths import merge, partition
from .rows import ignoring_hidden, minibatches, num_rows, predict_rows, take_rows
from .types import Aux, Batch, Key, MetaInit, MetaLearner, MetaLoss, Model, PyTree, Task, Variables
from .validation import check_is_model
from .ways import count_ways, mask_ways

__all__ = [
    "Adapted", "Forward", "ModalAdapt", "Objective", "Steps",
    "episodic", "ignoring_hidden", "predict_rows", "fast_weights", "support_loss", "descent", "with_passes",
    "support_pass", "support_state", "embed", "embed_support", "output_shape", "init_model", "batch_metrics",
    "count_ways", "mask_ways", "split_key", "partition", "merge", "minibatches", "take_rows",
]  # fmt: skip


class Adapted(NamedTuple):
    """Fast weights: gradient-based learners return them from `adapt`.

    Attributes:
      params: the adapted parameters.
      state: the model's state after the support passes.
      ways: the task's classes, bool ``[W]``, or None.
    """

    params: PyTree
    state: PyTree = ()
    ways: jax.Array | None = None


class ModalAdapt(Protocol):
    """`adapt` in either mode; the support set may be anything that the algorithm reads."""

    def __call__(self, meta: Variables, support: Any, key: Key | None = None, /, *, train: bool = False) -> Any: ...


class Forward(Protocol):
    """`predict` in either mode, with the state that its pass leaves: ``(outputs, state)``."""

    def __call__(
        self,
        meta: Variables,
        adapted: Any,
        x: PyTree,
        key: Key | None = None,
        /,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ) -> tuple[Any, PyTree]: ...


class Objective(Protocol):
    """An inner objective: ``(params, state, key) -> (loss, state)``."""

    def __call__(self, params: PyTree, state: PyTree, key: Key | None, /) -> tuple[jax.Array, PyTree]: ...


class Steps(Protocol):
    """Inner steps on a support set, from ``start``."""

    def __call__(
        self,
        start: Variables,
        optimizer: optax.GradientTransformation,
        support: Batch,
        key: Key | None = None,
        /,
        *,
        train: bool = False,
    ) -> Adapted: ...


def episodic(
    init: MetaInit,
    adapt: ModalAdapt,
    forward: Forward,
    loss_fn: LossFn,
    *,
    keeps_state: bool = False,
    metrics: Callable[[Any], dict[str, jax.Array]] | None = None,
    loss: MetaLoss | None = None,
    empty_support: bool = False,
) -> MetaLearner:
    r"""Make a learner whose outer loss is the query loss after adapting on the support set.

    $\ell(\theta) = L_Q(f(\theta, \mathrm{adapt}(\theta, S)))$. Examples of weight 0 are hidden from all functions.

    Args:
      init: ``(key, task) -> meta``.
      adapt: ``(meta, support, key, *, train) -> adapted``.
      forward: ``(meta, adapted, x, key, *, train, weight) -> (outputs, state)``.
      loss_fn: ``(outputs, targets, weight=None)`` -> scalar, or one value per example.
      keeps_state: whether the state that a training query pass leaves outlives the episode.
      metrics: ``adapted -> {name: scalar}``, reported beside the loss: how well a solve converged, for instance.
      loss: ``(meta, task, key) -> (scalar, Aux)``, in place of the query loss.
      empty_support: whether the learner can predict from no example. It is then given one hidden example.

    Returns:
      A `MetaLearner`.
    """

    def evaluate_adapt(meta: Variables, support: Any, key: Key | None = None) -> Any:
        return adapt(meta, support, key, train=False)

    def predict(
        meta: Variables, adapted: Any, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None
    ) -> Any:
        return forward(meta, adapted, x, key, train=False, weight=weight)[0]

    def query_loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_adapt, k_query = split_key(key)
        adapted = adapt(meta, task.support, k_adapt, train=True)
        outputs, state = forward(meta, adapted, task.query.x, k_query, train=True, weight=task.query.weight)
        value = batch_loss(loss_fn, outputs, task.query)
        reported = {} if metrics is None else metrics(adapted)
        reported = {"loss": value, **batch_metrics(outputs, task.query), **reported}
        return value, Aux(state if keeps_state else meta.state, reported)

    learner = MetaLearner(init, evaluate_adapt, predict, query_loss if loss is None else loss)
    return ignoring_hidden(learner, empty_support=empty_support)


def fast_weights(model: Model) -> Forward:
    """Return the `forward` of learners whose `adapt` returns `Adapted`: a query pass with the fast weights."""

    def forward(
        meta: Variables,
        adapted: Adapted,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ) -> tuple[Any, PyTree]:
        del meta  # everything was copied into `adapted`
        variables = Variables(adapted.params, adapted.state)
        outputs, state = model.apply(variables, x, train=train, weight=weight, key=key)
        return mask_ways(outputs, adapted.ways), state

    return forward


def support_loss(model: Model, loss_fn: LossFn, support: Batch, *, train: bool) -> Objective:
    """Return the inner objective ``(params, state, key) -> (loss, state)`` on a support set."""

    def objective(params: PyTree, state: PyTree, key: Key | None) -> tuple[jax.Array, PyTree]:
        run = support_pass(model)
        outputs, state = run(Variables(params, state), support.x, train=train, weight=support.weight, key=key)
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
) -> Steps:
    """Return adaptation by gradient steps on the support loss, the core of MAML and its relatives.

    For an inner loop on an objective of your own, with arrays that change from step to step, call `inner.descend`
    directly: ``state=`` is carried, ``inputs=`` gives each step its slice.

    Args:
      model, loss_fn: as for `maml`.
      num_steps, gradient, remat, truncate: as for `inner.descend`.
      batch_size: support examples that every step sees, in shuffled passes; all of them by default.
      adapt_only: predicate on a parameter's path that chooses which parameters adapt.

    Returns:
      ``adapt(start, optimizer, support, key, *, train) -> Adapted``. The optimizer may depend on meta-parameters.

    Raises:
      ValueError: if ``num_steps`` is negative; when called, for a ``batch_size`` beyond the support set, or if
        ``adapt_only`` chooses nothing.

    Example:
      >>> import jax.numpy as jnp, jaxmeta as jm
      >>> model = jm.from_functions(lambda key, x: jnp.zeros(()), lambda variables, x: x * variables.params)
      >>> steps = descent(model, jm.losses.mse, num_steps=1)
      >>> print(steps(Variables(jnp.zeros(())), optax.sgd(0.25), Batch(jnp.ones((1, 1)), jnp.ones((1, 1)))).params)
      0.5
    """
    if num_steps < 0:
        raise ValueError(f"`num_steps` must be >= 0, got {num_steps}.")

    def adapt(
        start: Variables,
        optimizer: optax.GradientTransformation,
        support: Batch,
        key: Key | None = None,
        *,
        train: bool = False,
    ) -> Adapted:
        fast, frozen = partition(start.params, adapt_only)
        k_steps, k_rows, k_last = split_key(key, 3)
        rows = None if batch_size is None else minibatches(k_rows, num_rows(support), batch_size, num_steps)

        def objective(fast: PyTree, state: PyTree, step: tuple[Key | None, jax.Array | None]) -> Any:
            k_step, rows = step
            loss = support_loss(model, loss_fn, take_rows(support, rows), train=train)
            return loss(merge(fast, frozen), state, k_step)

        end = descend(
            objective,
            fast,
            optimizer,
            num_steps,
            state=start.state,
            inputs=(None if k_steps is None else jax.random.split(k_steps, num_steps), rows),
            gradient=gradient,
            remat=remat,
            truncate=truncate,
        )
        params = merge(end.params, frozen)
        at_end = Variables(params, start.state)
        state = support_state(model, at_end, support, k_last, train=train, default=end.state)
        return Adapted(params, state, support.ways)

    return adapt


def init_model(model: Model) -> MetaInit:
    """Return the `init` of learners whose meta-parameters are the model's."""
    check_is_model(model)
    return lambda key, task: model.init(key, task.support.x)


def batch_metrics(outputs: Any, batch: Batch) -> dict[str, jax.Array]:
    """Return the default metrics of a batch, as scalars."""
    metrics = default_metrics(outputs, batch.y)
    return {name: metric(outputs, batch.y, batch.weight) for name, metric in metrics.items()}


def split_key(key: Key | None, num: int = 2) -> Any:
    """Split a key into ``num``; None gives as many None, for deterministic passes."""
    return [None] * num if key is None else jax.random.split(key, num)
