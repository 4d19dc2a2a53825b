"""Measure a trained learner beside its baselines, on the same held-out tasks."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..evaluation import evaluate
from ..experiment import Experiment, nearest_neighbour
from ..types import Batch, MetaLearner, Sampler, Variables

RANDOM, PIXELS = "random initialisation, {}", "nearest neighbour on pixels"


class Measurement(NamedTuple):
    """An estimate of one metric of one learner.

    Attributes:
      name: the learner, such as ``"after 5 steps"``.
      metric: such as ``"accuracy"``.
      mean: over tasks.
      ci95: half the width of the 95 % interval.
      num_tasks: tasks that were measured.
      transductive: whether predictions depend on the other queries of a task.
    """

    name: str
    metric: str
    mean: float
    ci95: float
    num_tasks: int
    transductive: bool


def measure(
    experiment: Experiment,
    meta: Variables,
    *,
    initial: Variables | None = None,
    sampler: Sampler | None = None,
    num_tasks: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    progress: Callable[[str], object] = lambda name: None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Measurement]:
    """Measure the learner at each of ``test_steps``, before adaptation, and its baselines, on the same tasks.

    Args:
      experiment: the learner, its test tasks and how it is measured.
      meta: the trained meta-parameters.
      initial: the meta-parameters before training; of image classification they are measured too.
      sampler: the distribution of tasks; by default the experiment's test tasks.
      num_tasks: tasks to measure on; by default the experiment's ``test_tasks``.
      mesh: devices that share the tasks.
      progress: called with the name of each learner before it is measured.
      stopped: called before each learner; a true value ends the measurement early.

    Returns:
      A `Measurement` for each learner and metric. Those of the trained learner come first.

    Raises:
      ValueError: if ``num_tasks`` is below 1.

    Example:
      >>> import optax, jaxmeta as jm
      >>> e = jm.recipes.sinusoid_maml(hidden=4, test_tasks=4)
      >>> meta = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(0)).meta
      >>> [row.name for row in measure(e, meta)][:2]
      ['before adaptation (0 steps)', 'after 1 step']
    """
    sampler = experiment.test if sampler is None else sampler
    num_tasks = experiment.test_tasks if num_tasks is None else num_tasks
    rows: list[Measurement] = []
    metrics = experiment.metrics or None
    for name, learner, variables in _candidates(experiment, meta, initial, sampler):
        if stopped():
            break
        progress(name)
        found = evaluate(learner, variables, sampler, num_tasks=num_tasks, metrics=metrics, mesh=mesh)
        rows += [Measurement(name, metric, *estimate) for metric, estimate in found.items()]
    return rows


def has_images(sampler: Sampler) -> bool:
    """Return whether tasks are about labelled images."""
    query = jax.eval_shape(sampler, jax.random.key(0)).query
    if not isinstance(query, Batch) or not hasattr(query.x, "shape"):
        return False
    return query.x.ndim in (3, 4) and jnp.issubdtype(query.y.dtype, jnp.integer)


def learners(experiment: Experiment) -> list[tuple[str, MetaLearner]]:
    """Return the learner before adaptation and after each of ``test_steps``, by name; the last is the headline."""
    make = experiment.make_learner
    if make is None or not experiment.test_steps:
        return [("after adaptation", experiment.learner)]
    steps = {k: f"after {k} step{'s' * (k != 1)}" for k in experiment.test_steps}
    return [(name, make(num_steps=k)) for k, name in ({0: "before adaptation (0 steps)"} | steps).items()]


def divergence(experiment: Experiment, rows: Sequence[Measurement]) -> str:
    """Return a sentence if the headline learner's predictions are not numbers, else ``""``."""
    headline = learners(experiment)[-1][0]
    bad = [row.metric for row in rows if row.name == headline and not math.isfinite(row.mean)]
    if not bad:
        return ""
    return (
        f"The trained learner's {' and '.join(bad)} on held-out tasks, {headline}, is not a number: its predictions "
        "are NaN or infinite. Likely causes: an inner learning rate that is too large, or NaN in the data."
    )


def _candidates(
    experiment: Experiment, meta: Variables, initial: Variables | None, sampler: Sampler
) -> Iterator[tuple[str, MetaLearner, Variables]]:
    trained = learners(experiment)
    for name, learner in trained:
        yield name, learner, meta
    if has_images(sampler):
        name, headline = trained[-1]
        if initial is not None:
            yield RANDOM.format(name), headline, initial
        yield PIXELS, nearest_neighbour(), Variables({})
    for name, learner in experiment.beside.items():
        yield name, learner, learner.init(jax.random.key(0), sampler(jax.random.key(0)))
