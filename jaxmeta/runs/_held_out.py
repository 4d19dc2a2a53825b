"""One larger task of held-out classes, always the same ones, on which single predictions can be looked at."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..tasks import Classes, classes_of
from ..types import Batch, MetaLearner, PyTree, Sampler, Task, Variables

WAYS, QUERIES = 10, 20  # at most: of classes, and of each class, where the data have as many


class HeldOut(NamedTuple):
    """A task and what its classes are called.

    Attributes:
      task: C queries of each class for every one that the sampler's own tasks have.
      num_ways: W.
      num_parts: C; predictions are made for as many queries at a time as in the sampler's own tasks.
      names: of the classes, or None where they have none.
    """

    task: Task
    num_ways: int
    num_parts: int
    names: list[str] | None


def held_out(learner: MetaLearner, meta: Variables, sampler: Sampler) -> HeldOut | None:
    """Of more classes than the sampler's tasks have, where the learner can tell them apart; None for other samplers.

    The classes stay the same from query to query, so that it means something which is taken for which; in the tasks
    of the measurement they are others each time.
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
    """The learner's outputs for all queries ``[C, N, W]``, and their labels ``[C, N]``."""
    query = jax.tree.map(lambda a: _in_parts(a, found), (found.task.query.x, found.task.query.y))

    @jax.jit
    def predict(support: Batch, x: PyTree) -> jax.Array:
        adapted = learner.adapt(meta, support)
        return jax.lax.map(lambda part: learner.predict(meta, adapted, part), x)

    return np.asarray(predict(found.task.support, query[0])), np.asarray(query[1])


def embedding(learner: MetaLearner, meta: Variables, found: HeldOut) -> tuple[np.ndarray, np.ndarray] | None:
    """Features of the queries ``[N, D]`` and prototypes ``[W, D]``, of learners that decide by the nearest of these.

    A learner does not show its features. But where it adapts to class means, the mean of a class of one example is
    that example's feature. Whether the learner really decides by them is tried: the nearest prototype has to be its
    own prediction, for 95 of a hundred queries at least.
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
    """``[W C Q, ...]`` as ``[C, W Q, ...]``."""
    split = a.reshape(found.num_ways, found.num_parts, -1, *a.shape[1:])
    return split.swapaxes(0, 1).reshape(found.num_parts, -1, *a.shape[1:])


def _tells_apart(learner: MetaLearner, meta: Variables, found: HeldOut) -> bool:
    """Whether there is an output for each class: a head of fixed size, for instance, may have fewer."""
    query = jax.tree.map(lambda a: _in_parts(a, found)[0], found.task.query.x)
    predict = lambda support, x: learner.predict(meta, learner.adapt(meta, support), x)
    try:
        shape = jax.eval_shape(predict, found.task.support, query)
    except Exception:  # of whatever kind a network raises that was made for another number
        return False
    return getattr(shape, "ndim", 0) == 2 and shape.shape[-1] == found.num_ways
