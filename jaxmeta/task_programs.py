"""The compiled functions of an evaluation: metrics of tasks, and whether predictions depend on the other queries.

Tasks are drawn by a program of their own, which all learners share: a sampler may take longer to compile than they do.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from . import iterates
from .learner import predict_rows
from .losses import default_metrics
from .parallel import over_tasks, task_axes
from .types import Batch, Key, MetaLearner, PyTree, Sampler, Task, Variables
from .validation import check_task


class Programs(NamedTuple):
    """The compiled functions of an evaluation.

    All take stacked tasks and their keys as `drawing` returns them.

    Attributes:
      measure: ``(meta, tasks, k_adapt, k_query) -> {name: [T]}``.
      dependence: ``(meta, tasks, k_adapt, k_query) -> (moved, is_nan)``: whether a prediction of the first task moves
        with the other queries, and whether one is NaN with and without them, so that this cannot be told.
      shapes: ``(meta, tasks, k_adapt, k_query) -> (outputs, targets)``, the shapes of the first task alone.
    """

    measure: Callable[..., dict[str, jax.Array]]
    dependence: Callable[..., tuple[jax.Array, jax.Array]]
    shapes: Callable[..., tuple[PyTree, PyTree]]


@lru_cache(maxsize=32)
def drawing(mesh: Mesh | None) -> Callable[[Sampler, Key], tuple[Task, Key, Key]]:
    """Return the compiled ``(sampler, keys [T]) -> (tasks, k_adapt, k_query)``, all stacked ``[T, ...]``."""

    def draw(sampler: Sampler, key: Key) -> tuple[Task, Key, Key]:
        k_task, k_adapt, k_query = jax.random.split(key, 3)
        task = sampler(k_task)
        check_task(task)
        return task, k_adapt, k_query

    def together(sampler: Sampler, keys: Key) -> tuple[Task, Key, Key]:
        return jax.vmap(partial(draw, sampler))(keys)

    if mesh is None:
        return jax.jit(together)
    return jax.jit(over_tasks(together, mesh, PartitionSpec(), PartitionSpec(task_axes(mesh))))


@lru_cache(maxsize=128)
def compiled(
    learner: MetaLearner,
    metrics: tuple[tuple[str, Callable[..., jax.Array]], ...] | None,
    mesh: Mesh | None,
    steps: tuple[int, ...] | None = None,
) -> Programs:
    """Compile once per learner and metrics: a second call does not compile again."""

    def outputs_of(meta: Variables, adapted: Any, query: Any, key: Key) -> Any:
        if not isinstance(query, Batch):
            return learner.predict(meta, adapted, query, key)
        return predict_rows(learner, meta, adapted, query.x, key, weight=query.weight)

    def one(meta: Variables, task: Task, k_adapt: Key, k_query: Key) -> dict[str, jax.Array]:
        if metrics is None and not isinstance(task.query, Batch):
            return learner.loss(meta, task, k_adapt)[1].metrics
        adapt = partial(learner.adapt, meta, task.support, k_adapt)

        def measure(adapted: Any) -> dict[str, jax.Array]:
            outputs, query = outputs_of(meta, adapted, task.query, k_query), task.query
            y, weight = (query.y, query.weight) if isinstance(query, Batch) else (query, None)
            fitting = default_metrics(outputs, y) if metrics is None else dict(metrics)
            return {name: fn(outputs, y, weight) for name, fn in fitting.items()}

        if steps is None:
            return measure(adapt())
        with iterates.recorded() as paths:
            adapt()

        def after(iterate: PyTree) -> dict[str, jax.Array]:
            with iterates.replayed(iterate):
                return measure(adapt())

        return jax.lax.map(after, jax.tree.map(lambda a: a[jnp.array(steps)], paths[0]))

    def dependence(meta: Variables, *drawn: Any) -> tuple[jax.Array, jax.Array]:
        task, k_adapt, k_query = first(drawn)
        if not isinstance(task.query, Batch):
            return jnp.asarray(False), jnp.asarray(False)
        query, adapted = task.query, learner.adapt(meta, task.support, k_adapt)
        before = outputs_of(meta, adapted, query, k_query)

        def compare(row: jax.Array) -> tuple[jax.Array, jax.Array]:
            # One query keeps its place, all others become copies of it.
            copies = jax.tree.map(lambda a: jnp.broadcast_to(a[row], a.shape), query.x)
            after = outputs_of(meta, adapted, query._replace(x=copies), k_query)
            rows = [(a[row], b[row]) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True) if a.ndim]
            same = [jnp.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True) for a, b in rows]
            return ~jnp.stack(same).all(), jnp.stack([jnp.isnan(a).any() for a, _ in rows]).any()

        return jax.tree.map(jnp.any, jax.vmap(compare)(jnp.array([0, -1])))

    def shapes(meta: Variables, *drawn: Any) -> tuple[PyTree, PyTree]:
        task, k_adapt, k_query = first(drawn)
        outputs = outputs_of(meta, learner.adapt(meta, task.support, k_adapt), task.query, k_query)
        return outputs, task.query.y if isinstance(task.query, Batch) else ()

    def together(meta: Variables, *drawn: Any) -> dict[str, jax.Array]:
        values = jax.vmap(partial(one, meta))(*drawn)
        return values if mesh is None else jax.lax.all_gather(values, task_axes(mesh), tiled=True)

    spread = together if mesh is None else over_tasks(together, mesh, PartitionSpec(), PartitionSpec())
    return Programs(jax.jit(spread), jax.jit(dependence), partial(jax.eval_shape, shapes))


def first(stacked: PyTree) -> PyTree:
    """Return the first of stacked pytrees.

    Example:
      >>> first({"x": jnp.arange(3)})
      {'x': Array(0, dtype=int32)}
    """
    return jax.tree.map(lambda a: a[0], stacked)
