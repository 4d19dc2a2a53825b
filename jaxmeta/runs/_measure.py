"""The final measurement: the trained learner beside what it should beat, on the same held-out tasks."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from ..evaluation import evaluate
from ..experiment import Experiment, nearest_neighbour
from ..types import Batch, MetaLearner, Sampler, Variables

Rows = list[dict[str, Any]]


def measure(
    experiment: Experiment,
    meta: Variables,
    initial: Variables,
    sampler: Sampler,
    num_tasks: int,
    *,
    mesh: Any = None,
    say: Callable[[str], None] = lambda text: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Rows:
    """A row per learner and metric, the same tasks for all; ends early when ``stopped``.

    Args:
      experiment: its learner at each of ``test_steps``, before adaptation, and for images the baselines.
      meta: what was learned.
      initial: the meta-parameters before training.
      sampler: the distribution of tasks.
      num_tasks: how many.
      mesh: devices that share the tasks.
    """
    rows: Rows = []
    for name, learner, params in _candidates(experiment, meta, initial, sampler):
        if stopped():
            break
        say(name)
        for metric, estimate in evaluate(learner, params, sampler, num_tasks=num_tasks, mesh=mesh).items():
            rows.append({"name": name, "metric": metric, **estimate._asdict()})
    return rows


def has_images(sampler: Sampler) -> bool:
    """Whether tasks are about labelled images."""
    query = jax.eval_shape(sampler, jax.random.key(0)).query
    if not isinstance(query, Batch) or not hasattr(query.x, "shape"):
        return False
    return query.x.ndim in (3, 4) and jnp.issubdtype(query.y.dtype, jnp.integer)


def _candidates(experiment: Experiment, meta: Variables, initial: Variables, sampler: Sampler) -> Iterator[tuple]:
    trained = learners(experiment)
    for name, learner in trained:
        yield name, learner, meta
    if has_images(sampler):
        name, headline = trained[-1]
        yield f"random initialisation, {name}", headline, initial
        yield "nearest neighbour on pixels", nearest_neighbour(), Variables({})
    for name, learner in experiment.beside.items():
        yield name, learner, learner.init(jax.random.key(0), sampler(jax.random.key(0)))


def learners(experiment: Experiment) -> list[tuple[str, MetaLearner]]:
    """The learner before adaptation and after each of the recipe's numbers of steps; the last is the headline."""
    make = experiment.make_learner
    if make is None or not experiment.test_steps:
        return [("after adaptation", experiment.learner)]
    steps = {k: f"after {k} step{'s' * (k != 1)}" for k in experiment.test_steps}
    return [(name, make(num_steps=k)) for k, name in ({0: "before adaptation (0 steps)"} | steps).items()]
