"""The compiled functions of an evaluation: metrics of tasks, and whether predictions depend on the other queries."""

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

    Attributes:
      measure: ``((meta, sampler), keys [T]) -> {name: [T]}``.
      dependence: ``(meta, sampler, key) -> (moved, is_nan)``: whether a prediction of this task moves with the other
        queries, and whether one is NaN with and without them, so that this cannot be told.
      shapes: ``(meta, sampler, key) -> (outputs, targets)``, the shapes alone.
    """

    measure: Callable[..., dict[str, jax.Array]]
    dependence: Callable[..., tuple[jax.Array, jax.Array]]
    shapes: Callable[..., tuple[PyTree, PyTree]]


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

    def draw(sampler: Sampler, key: Key) -> tuple[Task, Key, Key]:
        k_task, k_adapt, k_query = jax.random.split(key, 3)
        task = sampler(k_task)
        check_task(task)
        return task, k_adapt, k_query

    def one(meta: Variables, sampler: Sampler, key: Key) -> dict[str, jax.Array]:
        task, k_adapt, k_query = draw(sampler, key)
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

    def dependence(meta: Variables, sampler: Sampler, key: Key) -> tuple[jax.Array, jax.Array]:
        task, k_adapt, k_query = draw(sampler, key)
        if not isinstance(task.query, Batch):
            return jnp.asarray(False), jnp.asarray(False)
        query, adapted = task.query, learner.adapt(meta, task.support, k_adapt)
        before = outputs_of(meta, adapted, query, k_query)

        def compare(row: int) -> tuple[jax.Array, jax.Array]:  # one query keeps its place, all others become copies
            copies = jax.tree.map(lambda a: jnp.broadcast_to(a[row], a.shape), query.x)
            after = outputs_of(meta, adapted, query._replace(x=copies), k_query)
            rows = [(a[row], b[row]) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True) if a.ndim]
            same = [jnp.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True) for a, b in rows]
            return ~jnp.stack(same).all(), jnp.stack([jnp.isnan(a).any() for a, _ in rows]).any()

        return jax.tree.map(jnp.logical_or, compare(0), compare(-1))

    def shapes(meta: Variables, sampler: Sampler, key: Key) -> tuple[PyTree, PyTree]:
        task, k_adapt, k_query = draw(sampler, key)
        outputs = outputs_of(meta, learner.adapt(meta, task.support, k_adapt), task.query, k_query)
        return outputs, task.query.y if isinstance(task.query, Batch) else ()

    def together(whole: tuple[Variables, Sampler], keys: Key) -> dict[str, jax.Array]:
        values = jax.vmap(partial(one, *whole))(keys)
        return values if mesh is None else jax.lax.all_gather(values, task_axes(mesh), tiled=True)

    spread = together if mesh is None else over_tasks(together, mesh, PartitionSpec(), PartitionSpec())
    return Programs(jax.jit(spread), jax.jit(dependence), partial(jax.eval_shape, shapes))
