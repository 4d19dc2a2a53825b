"""Draw one larger task of held-out classes, always the same ones, to look at single predictions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..tasks import Classes, classes_of
from ..types import Batch, Key, MetaLearner, PyTree, Sampler, Task, Variables

WAYS, QUERIES = 10, 20  # at most: of classes, and of each class, where the data have as many


class HeldOut(NamedTuple):
    """A task and the names of its classes.

    Attributes:
      task: the task. It has C times as many queries of each class as the sampler's own tasks.
      num_ways: the number of classes W.
      num_parts: C, the number of parts that are predicted one after the other, each as large as a task of the sampler.
      names: of the classes, or None where they have none.
    """

    task: Task
    num_ways: int
    num_parts: int
    names: list[str] | None


def held_out(learner: MetaLearner, meta: Variables, sampler: Sampler) -> HeldOut | None:
    """Return a task of up to `WAYS` classes, or of the sampler's own number if the learner cannot predict more.

    The tasks of the measurement have other classes each time. Here they stay the same, so that mistakes can be counted
    by class. None for a sampler without classes.
    """
    classes = classes_of(sampler)
    if classes is None:
        return None
    own, total = classes.layout.num_ways[1], WAYS if classes.count is None else len(classes.count)
    for num_ways in dict.fromkeys((max(own, min(WAYS, total)), own)):
        found = _draw(sampler, classes, num_ways)
        if _tells_apart(learner, meta, found):
            return found
    return None


def outputs(learner: MetaLearner, meta: Variables, found: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    """Return the learner's outputs for all queries ``[C, N, W]``, and their labels ``[C, N]``."""
    query = jax.tree.map(lambda a: _in_parts(a, found), (found.task.query.x, found.task.query.y))

    @jax.jit
    def predict(support: Batch, x: PyTree) -> jax.Array:
        adapted = learner.adapt(meta, support)
        return jax.lax.map(lambda part: learner.predict(meta, adapted, part), x)

    return np.asarray(predict(found.task.support, query[0])), np.asarray(query[1])


def embedding(learner: MetaLearner, meta: Variables, found: HeldOut) -> tuple[np.ndarray, np.ndarray] | None:
    """Return features of the queries ``[N, D]`` and prototypes ``[W, D]``, or None for learners without prototypes.

    A learner has no function for its features. But where it adapts to class means, the mean of a class of one example
    is the feature of that example. The learner counts as one that decides by the nearest prototype if that is its
    prediction for at least 95 % of the queries.
    """
    support, query = found.task
    if not has_prototypes(learner, meta, found):
        return None
    x, count = query.x, len(query.y)
    alone = Batch(x, jnp.arange(count), ways=jnp.ones(count, bool))
    prototypes, features = (np.asarray(jax.jit(learner.adapt)(meta, batch).means) for batch in (support, alone))
    logits, labels = outputs(learner, meta, found)
    order = np.argsort(_in_parts(np.arange(count), found).ravel())
    nearest = np.square(features[:, None] - prototypes[None]).reshape(count, found.num_ways, -1).sum(-1).argmin(1)
    agrees = nearest == logits.reshape(count, -1)[order].argmax(-1)
    return (features, prototypes) if agrees.mean() >= 0.95 else None


def has_prototypes(learner: MetaLearner, meta: Variables, found: HeldOut) -> bool:
    """Return whether the learner adapts to class means."""
    return hasattr(jax.eval_shape(learner.adapt, meta, found.task.support), "means")


def class_names(sampler: Sampler, keys: Key) -> list[list[str]] | None:
    """Return the names of the classes of the tasks of ``keys`` ``[T]``, or None where classes have none."""
    classes = classes_of(sampler)
    if classes is None or not classes.names:
        return None
    numbers = jax.jit(lambda s, keys: jax.vmap(lambda key: s.class_indices(s.draw(key)))(keys))(sampler, keys)
    return [[classes.names[number] for number in row] for row in np.asarray(numbers).tolist()]


def _draw(sampler: Any, classes: Classes, num_ways: int) -> HeldOut:
    layout = classes.layout
    shots, own = layout.num_shots[1], layout.num_queries
    most = QUERIES if classes.count is None else int(classes.count.min()) - shots
    parts = max(min(QUERIES, most) // own, 1)
    layout = layout._replace(num_ways=(num_ways, num_ways), num_shots=(shots, shots), num_queries=parts * own)
    large = sampler.with_layout(layout)
    indices = jax.jit(lambda s: s.draw(jax.random.key(2)))(large)
    numbers = np.asarray(large.class_indices(indices)).tolist()
    names = [classes.names[number] for number in numbers] if classes.names else None
    return HeldOut(jax.jit(lambda s, i: s.fetch(i))(large, indices), num_ways, parts, names)


def _in_parts(a: Any, found: HeldOut) -> Any:
    """Return ``[W C Q, ...]`` as ``[C, W Q, ...]``."""
    split = a.reshape(found.num_ways, found.num_parts, -1, *a.shape[1:])
    return split.swapaxes(0, 1).reshape(found.num_parts, -1, *a.shape[1:])


def _tells_apart(learner: MetaLearner, meta: Variables, found: HeldOut) -> bool:
    """Return whether the learner has an output for each class: a head of fixed size may have fewer."""
    query = jax.tree.map(lambda a: _in_parts(a, found)[0], found.task.query.x)
    predict = lambda support, x: learner.predict(meta, learner.adapt(meta, support), x)
    try:
        shape = jax.eval_shape(predict, found.task.support, query)
    except Exception:  # a network that was made for another number raises any kind
        return False
    return getattr(shape, "ndim", 0) == 2 and shape.shape[-1] == found.num_ways
