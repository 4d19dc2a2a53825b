"""Laws that every meta-learner keeps: the tests of this library as functions, for a learner of your own.

`check_learner` checks all of them. Each law is a function that leaves its arguments unchanged and raises an
`AssertionError` with the observation and its usual cause.

Letters: N examples of one set, T tasks, W ways.
"""

import inspect
import time
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
    """A property of a learner, checked on one of its states and a stack of tasks ``[T, ...]``."""

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
    verbose: bool = False,
) -> dict[str, str]:
    """Check that a learner keeps every law on the tasks of a sampler; use small tasks and a small network.

    The laws are ``"jit"`` (`same_under_jit`), ``"vmap"`` (`same_task_by_task`, which also counts compilations and
    looks for NaN), ``"padding"`` (`padding_is_invisible`), ``"nothing"`` (`finite_without_examples`), ``"queries"``
    (`queries_are_apart`) and ``"learns"`` (`error_falls`). Only the first two apply to tasks whose sets are no
    `Batch`.

    Args:
      learner: the learner to check. One that draws random mini-batches of the support set needs ``skip=["padding"]``,
        since padding changes the draw; a transductive learner needs ``skip=["queries"]``.
      sampler: a distribution of tasks that the learner can learn from.
      optimizer: the outer optimizer; by default Adam with rate 0.01.
      num_steps: the number of meta-steps, on 8 tasks each, for ``"learns"``.
      loss_fn: the error that has to fall; by default cross-entropy for labels and mean squared error otherwise.
      skip: the names of laws to leave out.
      tolerance: the relative and absolute tolerance of comparisons in float32.
      verbose: whether to print a line for each law as soon as its outcome is known: its name, the outcome, the seconds
        it took and the statement of the law.

    Returns:
      The outcome of each law by name: ``"holds"``, ``"skipped"``, or ``"does not apply"`` to tasks without examples.

    Raises:
      ValueError: if ``skip`` names no law.
      AssertionError: at the first law that does not hold. The message says what was measured and the usual cause.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=1))
      >>> learner = jm.maml(model, jm.losses.mse, num_steps=1)
      >>> check_learner(learner, jm.tasks.sinusoid(), skip=["queries"])
      {'jit': 'holds', 'vmap': 'holds', 'padding': 'holds', 'nothing': 'holds', 'queries': 'skipped', 'learns': 'holds'}
    """
    unknown = sorted(set(skip) - {*LAWS, "learns"})
    if unknown:
        raise ValueError(f"`skip` names {unknown}, but the laws are {[*LAWS, 'learns']}.")
    outer = optax.adam(1e-2) if optimizer is None else optimizer
    source = as_sampler(sampler)
    tasks = jax.vmap(source)(jax.random.split(jax.random.key(1), 4))
    state = init(learner, source, outer, key=jax.random.key(0))
    has_examples = isinstance(tasks.support, Batch) and isinstance(tasks.query, Batch)

    def check(name: str) -> None:
        if name == "learns":
            error_falls(learner, source, optimizer=outer, num_steps=num_steps, loss_fn=loss_fn)
        else:
            LAWS[name](learner, state, tasks, tolerance=tolerance)

    outcomes: dict[str, str] = {}
    for name in (*LAWS, "learns"):
        begin, outcomes[name] = time.perf_counter(), "FAILS"
        try:
            if name in skip:
                outcomes[name] = "skipped"
            elif not has_examples and name not in ("jit", "vmap"):
                outcomes[name] = "does not apply"
            else:
                check(name)
                outcomes[name] = "holds"
        finally:
            if verbose:
                statement = inspect.getdoc(LAWS.get(name, error_falls)) or ""
                seconds = time.perf_counter() - begin
                print(f"{name:8} {outcomes[name]:14} {seconds:6.1f} s  {statement.partition(chr(10))[0]}", flush=True)
    return outcomes


def same_under_jit(learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None:
    """Loss and meta-gradient of a task are the same with and without compilation."""
    task = jax.tree.map(lambda a: a[0], tasks)
    loss = lambda params: learner.loss(Variables(params, state.meta.state), task, jax.random.key(0))[0]
    with jax.disable_jit():
        eager = jax.value_and_grad(loss)(state.meta.params)
    why = "jit changes the loss or its gradient: the learner depends on something outside its arguments"
    assert_close(jax.jit(jax.value_and_grad(loss))(state.meta.params), eager, tolerance, why)


def same_task_by_task(learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None:
    """A meta-step on T tasks is finite, compiles once, and equals the mean over its tasks taken one at a time."""
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
    """Three more rows with weight 0 in every set change neither the loss nor the meta-gradient."""
    plain, padded = (Task(_pad(tasks.support, rows), _pad(tasks.query, rows)) for rows in (0, 3))
    why = (
        "examples with weight 0 change the loss or the meta-gradient: pass `Batch.weight` to every sum and forward pass"
    )
    assert_close(meta_gradient(learner, state.meta, plain), meta_gradient(learner, state.meta, padded), tolerance, why)


def finite_without_examples(learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None:
    """With all weights zero, and with a class without examples, loss and meta-gradient stay finite."""
    del tolerance  # the law has no tolerance
    present = _all_but_last(tasks.query.ways)
    empty = Task(*(_blank(batch, present, 0.0) for batch in tasks))
    why = "with all weights zero the loss or the meta-gradient is NaN or infinite: divide by `max(weight.sum(), 1)`"
    _hold(all_finite(meta_gradient(learner, state.meta, empty)), why)
    absent = Task(*(_blank(batch, present, 1.0) for batch in tasks))
    why = "with an absent class the loss or the meta-gradient is NaN or infinite: mask classes by `Batch.ways`"
    _hold(all_finite(meta_gradient(learner, state.meta, absent)), why)


def queries_are_apart(learner: MetaLearner, state: MetaState, tasks: Task, *, tolerance: float = 1e-4) -> None:
    """The prediction for a query does not depend on the other queries: the learner is not transductive."""
    del tolerance  # `evaluate` has its own
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
    """Meta-training lowers the error after adaptation on new tasks, below ``ratio`` of the error at the start.

    Args:
      learner, optimizer, num_steps, loss_fn: as for `check_learner`.
      train, test: tasks to train on, 8 a step, and to measure on (64); by default the same distribution.
      ratio: the largest error after training, as a share of the error before.
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
    """Return the mean loss over stacked tasks, and its gradient with respect to ``meta.params``."""
    keys = jax.random.split(jax.random.key(0), len(jax.tree.leaves(tasks)[0]))

    def mean_loss(params: PyTree) -> jax.Array:
        return jax.vmap(learner.loss, (None, 0, 0))(Variables(params, meta.state), tasks, keys)[0].mean()

    return jax.jit(jax.value_and_grad(mean_loss))(meta.params)


def all_finite(tree: PyTree) -> bool:
    """Return whether no leaf holds NaN or infinity."""
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def assert_close(actual: PyTree, expected: PyTree, tolerance: float, why: str = "") -> None:
    """Raise an `AssertionError` unless all leaves agree, relatively or absolutely; ``why`` begins its message."""
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=why)
    jax.tree.map(compare, actual, expected)


def _hold(holds: Any, why: str) -> None:
    """Raise an `AssertionError` with the reason unless the law holds."""
    if not bool(holds):
        raise AssertionError(f"{why}.")


def _error_of(y: jax.Array) -> LossFn:
    """Return the default error: cross-entropy for labels, mean squared error otherwise."""
    return cross_entropy if jnp.issubdtype(y.dtype, jnp.integer) else mse


def _weight(batch: Batch) -> jax.Array:
    """Return the weights ``[T, N]``, or per token; ones where the batch has none."""
    return jnp.ones(jax.tree.leaves(batch.y)[0].shape[:2]) if batch.weight is None else batch.weight


def _pad(batch: Batch, rows: int) -> Batch:
    """Add rows of weight 0: inputs are sevens, or for integers the first example; targets are the last one."""
    sevens = lambda a: jnp.full_like(a[:, :1], 7) if jnp.issubdtype(a.dtype, jnp.inexact) else a[:, :1]
    more = lambda a, row: jnp.concatenate([a, jnp.repeat(row, rows, 1)], 1)
    weight = _weight(batch)
    x = jax.tree.map(lambda a: more(a, sevens(a)), batch.x)
    y = jax.tree.map(lambda a: more(a, a[:, -1:]), batch.y)
    return Batch(x, y, more(weight, jnp.zeros_like(weight[:, :1])), batch.ways)


def _all_but_last(ways: jax.Array | None) -> jax.Array | None:
    """Return ``ways [T, W]`` without the last class, if there is more than one."""
    return None if ways is None else jnp.broadcast_to(jnp.arange(ways.shape[1]) < max(ways.shape[1] - 1, 1), ways.shape)


def _blank(batch: Batch, ways: jax.Array | None, weight: float) -> Batch:
    """Give every example the same weight, and move labels of the absent class to the one before."""
    y = batch.y if ways is None else jax.tree.map(lambda a: jnp.minimum(a, max(ways.shape[1] - 2, 0)), batch.y)
    return Batch(batch.x, y, jnp.full_like(_weight(batch), weight), ways)
