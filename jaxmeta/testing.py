"""Laws that every meta-learner keeps, as functions: the tests of this library, for a learner of one's own.

`check_learner` holds a learner to all of them. Each law is a function of its own, raises an `AssertionError` that says
what was seen and what usually causes it, and leaves its arguments as they are.

Letters: N examples of one set, T tasks, W ways.
"""

from collections.abc import Callable, Collection
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .evaluation import evaluate, task_metrics
from .fit import fit
from .losses import LossFn, batch_loss, cross_entropy, mse
from .step import as_sampler, init, meta_step
from .types import Batch, MetaLearner, MetaState, PyTree, Sampler, Task, Variables


class Law(Protocol):
    """A property of a learner, checked on a state of it and a stack of tasks ``[T, ...]``."""

    def __call__(self, learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None: ...


def check_learner(
    learner: MetaLearner,
    sampler: Sampler | Callable[[jax.Array], Task],
    *,
    optimizer: optax.GradientTransformation | None = None,
    num_steps: int = 100,
    loss_fn: LossFn | None = None,
    skip: Collection[str] = (),
    tolerance: float = 1e-4,
) -> None:
    """Holds a learner to every law on the tasks of a sampler; small tasks and a small network make it quick.

    The laws are ``"jit"`` (`same_under_jit`), ``"vmap"`` (`same_task_by_task`, which also counts compilations and
    looks for NaN), ``"padding"`` (`padding_is_invisible`), ``"nothing"`` (`finite_without_examples`), ``"queries"``
    (`queries_are_apart`) and ``"learns"`` (`error_falls`). Where a set of the task is no `Batch`, only the first two.

    Args:
      learner: what to check. Random mini-batches of the support set need ``skip=["padding"]``, since padding changes
        which are drawn; a transductive learner needs ``skip=["queries"]``.
      sampler: a distribution of tasks that the learner can learn from.
      optimizer: the outer optimizer; by default Adam with rate 0.01.
      num_steps: meta-steps of 8 tasks for ``"learns"``.
      loss_fn: the error that has to fall; by default cross-entropy for labels, mean squared error otherwise.
      skip: laws to leave out, by name.
      tolerance: relative and absolute, of comparisons in float32.

    Raises:
      ValueError: if ``skip`` names no law.
      AssertionError: at the first law that does not hold.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=1))
      >>> check_learner(jm.maml(model, jm.losses.mse, num_steps=2), jm.tasks.sinusoid())
    """
    unknown = sorted(set(skip) - {*LAWS, "learns"})
    if unknown:
        raise ValueError(f"`skip` names {unknown}, but the laws are {[*LAWS, 'learns']}.")
    optimizer = optax.adam(1e-2) if optimizer is None else optimizer
    source = as_sampler(sampler)
    tasks = jax.vmap(source)(jax.random.split(jax.random.key(1), 4))
    state = init(learner, source, optimizer, key=jax.random.key(0))
    has_examples = isinstance(tasks.support, Batch) and isinstance(tasks.query, Batch)
    for name, law in LAWS.items():
        if name not in skip and (has_examples or name in ("jit", "vmap")):
            law(learner, state, tasks, tolerance=tolerance)
    if has_examples and "learns" not in skip:
        error_falls(learner, source, optimizer=optimizer, num_steps=num_steps, loss_fn=loss_fn)


def same_under_jit(learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None:
    """Loss and meta-gradient of the first task are the same compiled and not."""
    task = jax.tree.map(lambda a: a[0], tasks)
    loss = lambda params: learner.loss(Variables(params, state.meta.state), task, jax.random.key(0))[0]
    with jax.disable_jit():
        eager = jax.value_and_grad(loss)(state.meta.params)
    why = "jit changes the loss or its gradient: the learner depends on something outside its arguments"
    assert_close(jax.jit(jax.value_and_grad(loss))(state.meta.params), eager, tolerance, why)


def same_task_by_task(learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None:
    """A meta-step on T tasks is finite, compiles once, and is the mean of its tasks taken one at a time."""
    sgd = optax.sgd(1.0)
    state = state._replace(opt_state=sgd.init(state.meta.params))
    step = jax.jit(meta_step(learner, sgd))
    new, metrics = step(state, tasks)
    again, _ = step(new, tasks)
    _hold(step._cache_size() == 1, "a second meta-step compiles again: shapes or dtypes of `meta` change in a step")  # pyright: ignore
    _hold(int(again.step) == 2 and metrics["skipped"] == 0, "the loss, a metric or the meta-gradient is not finite")
    _hold(all_finite((new.meta, metrics)), "the updated parameters, the state or a metric is not finite")
    alone, each = jax.jit(meta_step(learner, sgd, chunk=1))(state, tasks)
    why = "tasks under `vmap` differ from tasks one by one: something of one task reaches another"
    assert_close((new.meta, metrics), (alone.meta, each), tolerance, why)


def padding_is_invisible(learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None:
    """Three rows of garbage with weight 0, added to every set, change neither the loss nor the meta-gradient."""
    plain, padded = (Task(_pad(tasks.support, rows), _pad(tasks.query, rows)) for rows in (0, 3))
    why = "examples with weight 0 change the loss or the meta-gradient: hand `Batch.weight` on to every sum and pass"
    assert_close(meta_gradient(learner, state.meta, plain), meta_gradient(learner, state.meta, padded), tolerance, why)


def finite_without_examples(learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None:
    """With all weights zero, and with a class that no example has, loss and meta-gradient stay finite."""
    del tolerance  # finite or not
    present = _all_but_last(tasks.query.ways)
    empty = Task(*(_blank(batch, present, 0.0) for batch in tasks))
    why = "with all weights zero the loss or the meta-gradient is NaN or infinite: divide by `max(weight.sum(), 1)`"
    _hold(all_finite(meta_gradient(learner, state.meta, empty)), why)
    absent = Task(*(_blank(batch, present, 1.0) for batch in tasks))
    why = "with an absent class the loss or the meta-gradient is NaN or infinite: mask classes by `Batch.ways`"
    _hold(all_finite(meta_gradient(learner, state.meta, absent)), why)


def queries_are_apart(learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None:
    """The prediction for a query does not depend on the other queries: the learner is not transductive."""
    del tolerance  # `evaluate` decides, by its own
    first: Any = jax.tree_util.Partial(lambda task, key: task, jax.tree.map(lambda a: a[0], tasks))
    _, transductive = task_metrics(learner, state.meta, first, num_tasks=1)
    why = "a prediction depends on the other queries; BatchNorm that should not: `from_linen(..., norm='support')`"
    _hold(not transductive, why)


def error_falls(
    learner: MetaLearner,
    train: Sampler,
    test: Sampler | None = None,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int = 100,
    loss_fn: LossFn | None = None,
    ratio: float = 0.95,
) -> None:
    """The error after adaptation, on tasks not trained on, falls below ``ratio`` of what it was.

    Args:
      learner, optimizer, num_steps, loss_fn: as for `check_learner`.
      train, test: tasks to train on, 8 a step, and to measure on (64); by default the same distribution.
      ratio: what is left of the error, at most.
    """
    test = train if test is None else test
    error = lambda outputs, y, weight: batch_loss(loss_fn or _error_of(y), outputs, Batch((), y, weight))
    score = lambda meta: evaluate(learner, meta, test, num_tasks=64, metrics={"error": error})["error"].mean
    state = init(learner, train, optimizer, key=jax.random.key(0))
    trained, _ = fit(learner, train, optimizer, state, num_steps=num_steps, tasks_per_step=8)
    before, after = score(state.meta), score(trained.meta)
    _hold(after < ratio * before, f"{num_steps} meta-steps took the error from {before:.4g} to {after:.4g} only")


LAWS: dict[str, Law] = {
    "jit": same_under_jit,
    "vmap": same_task_by_task,
    "padding": padding_is_invisible,
    "nothing": finite_without_examples,
    "queries": queries_are_apart,
}


def meta_gradient(learner: MetaLearner, meta: Variables, tasks: Task) -> tuple[jax.Array, PyTree]:
    """Mean loss over stacked tasks, and its gradient with respect to ``meta.params``."""
    keys = jax.random.split(jax.random.key(0), len(jax.tree.leaves(tasks)[0]))

    def mean_loss(params: PyTree) -> jax.Array:
        return jax.vmap(learner.loss, (None, 0, 0))(Variables(params, meta.state), tasks, keys)[0].mean()

    return jax.jit(jax.value_and_grad(mean_loss))(meta.params)


def all_finite(tree: PyTree) -> bool:
    """Whether no leaf holds NaN or infinity."""
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def assert_close(actual: PyTree, expected: PyTree, tolerance: float, why: str = "") -> None:
    """Compares leaf by leaf, relatively and absolutely; ``why`` precedes what numpy says."""
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=why)
    jax.tree.map(compare, actual, expected)


def _hold(holds: Any, why: str) -> None:
    if not bool(holds):
        raise AssertionError(f"{why}.")


def _error_of(y: jax.Array) -> LossFn:
    return cross_entropy if jnp.issubdtype(y.dtype, jnp.integer) else mse


def _weight(batch: Batch) -> jax.Array:
    """``[T, N]``, or per token; ones where there is none."""
    return jnp.ones(jax.tree.leaves(batch.y)[0].shape[:2]) if batch.weight is None else batch.weight


def _pad(batch: Batch, rows: int) -> Batch:
    """Sevens, or for integers the first example, with the target of the last one."""
    sevens = lambda a: jnp.full_like(a[:, :1], 7) if jnp.issubdtype(a.dtype, jnp.inexact) else a[:, :1]
    more = lambda a, row: jnp.concatenate([a, jnp.repeat(row, rows, 1)], 1)
    weight = _weight(batch)
    x = jax.tree.map(lambda a: more(a, sevens(a)), batch.x)
    y = jax.tree.map(lambda a: more(a, a[:, -1:]), batch.y)
    return Batch(x, y, more(weight, jnp.zeros_like(weight[:, :1])), batch.ways)


def _all_but_last(ways: jax.Array | None) -> jax.Array | None:
    """The classes of ``[T, W]`` without the last, where there is more than one."""
    return None if ways is None else jnp.broadcast_to(jnp.arange(ways.shape[1]) < max(ways.shape[1] - 1, 1), ways.shape)


def _blank(batch: Batch, ways: jax.Array | None, weight: float) -> Batch:
    """Every example with the same weight, and labels that are left."""
    y = batch.y if ways is None else jax.tree.map(lambda a: jnp.minimum(a, max(ways.shape[1] - 2, 0)), batch.y)
    return Batch(batch.x, y, jnp.full_like(_weight(batch), weight), ways)
