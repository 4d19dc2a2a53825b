"""The pictures of a run folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import plots
from ..evaluation import adaptation_curve, evaluate
from ..experiment import Experiment
from ..learner import predict_rows
from ..step import task_keys
from ..types import Batch, Key, MetaLearner, Task, Variables
from . import _folder
from ._held_out import HeldOut, class_names, embedding, has_prototypes, held_out, outputs
from ._measure import has_images, learners

NUM_TASKS, GRID = 4, 200
CURVE_TASKS = 256  # at most, for the adaptation curve
CALIBRATION_TASKS = 64  # at most
STEPS = (*range(11), 20, 50, 100)  # inner steps of the adaptation curve: up to 10, and up to the recipe's


def pictures(folder: Path, experiment: Experiment, meta: Variables) -> dict[str, Callable[[], Any]]:
    """Return the pictures of the trained learner that its tasks have: a file's name, and a function that writes it."""
    keys = task_keys(jax.random.key(1), NUM_TASKS)
    tasks = jax.jit(jax.vmap(experiment.test))(keys)
    drawn: dict[str, Callable[[], Any]] = {}
    if has_images(experiment.test):
        drawn[_folder.EPISODES] = lambda: _draw_episodes(folder, experiment, meta, tasks, keys)
        drawn[_folder.RELIABILITY] = lambda: _draw_reliability(folder / _folder.RELIABILITY, experiment, meta)
        drawn |= _of_classes(folder, experiment, meta)
    elif not isinstance(tasks.query, Batch):
        if experiment.make_learner is None:
            return {}
        return {_folder.ADAPTATION: lambda: _draw_returns(folder / _folder.ADAPTATION, experiment, meta)}
    elif _is_curve(tasks):
        drawn[_folder.FITS] = lambda: _draw_fits(folder / _folder.FITS, experiment, meta, tasks)
    if experiment.make_learner is not None and any(experiment.test_steps):
        drawn[_folder.ADAPTATION] = lambda: _draw_adaptation(folder / _folder.ADAPTATION, experiment, meta)
    return drawn


def _draw_episodes(folder: Path, experiment: Experiment, meta: Variables, tasks: Task, keys: Key) -> None:
    outputs = _outputs(experiment.headline, meta, tasks.support, tasks.query.x)
    names, title = class_names(experiment.test, keys), "Held-out classes after adaptation"
    plots.episodes(tasks, outputs, folder / _folder.EPISODES, names=names, title=title)


def _of_classes(folder: Path, experiment: Experiment, meta: Variables) -> dict[str, Callable[[], Any]]:
    """Return the pictures of one larger task: which classes are mistaken for which, and a map of their features."""
    learner = experiment.headline
    task = held_out(learner, meta, experiment.test)
    if task is None:
        return {}
    drawn: dict[str, Callable[[], Any]] = {}
    drawn[_folder.CONFUSION] = lambda: _draw_confusion(folder / _folder.CONFUSION, learner, meta, task)
    if has_prototypes(learner, meta, task):
        drawn[_folder.EMBEDDING] = lambda: _draw_embedding(folder / _folder.EMBEDDING, learner, meta, task)
    return drawn


def _draw_confusion(path: Path, learner: MetaLearner, meta: Variables, task: HeldOut) -> None:
    logits, labels = outputs(learner, meta, task)
    images = np.asarray(task.task.support.x[:: len(task.task.support.y) // task.num_ways])
    right = f"{100 * (logits.argmax(-1) == labels).mean():.0f} % of {labels.size} queries right"
    title = f"One task of {task.num_ways} held-out classes: {right}"
    plots.confusion(logits, labels, task.names, path, images=images, title=title)


def _draw_embedding(path: Path, learner: MetaLearner, meta: Variables, task: HeldOut) -> None:
    space = embedding(learner, meta, task)
    if space is not None:
        title = "Queries of held-out classes in the learned space"
        plots.embedding_map(space[0], task.task.query.y, space[1], path, names=task.names, title=title)


def _draw_reliability(path: Path, experiment: Experiment, meta: Variables) -> None:
    learner, num_tasks = experiment.headline, min(experiment.test_tasks, CALIBRATION_TASKS)

    @jax.jit
    def predicted(sampler: Any, keys: Key) -> tuple[Any, Batch]:
        def one(key: Key) -> tuple[Any, Batch]:
            task = sampler(key)
            outputs = predict_rows(
                learner, meta, learner.adapt(meta, task.support), task.query.x, weight=task.query.weight
            )
            return outputs, task.query._replace(x=None)

        return jax.lax.map(one, keys)

    outputs, query = predicted(experiment.test, task_keys(jax.random.key(3), num_tasks))
    shown = np.ones(query.y.shape, bool) if query.weight is None else np.asarray(query.weight) > 0
    plots.reliability(np.asarray(outputs)[shown], np.asarray(query.y)[shown], path, title="Held-out tasks")


def _draw_adaptation(path: Path, experiment: Experiment, meta: Variables) -> None:
    """Draw held-out metrics from no step to the most that the recipe measures, and to at least ten."""
    make = experiment.make_learner
    assert make is not None
    num_tasks, last = min(experiment.test_tasks, CURVE_TASKS), max(*experiment.test_steps, 10)
    steps = {*experiment.test_steps, *(k for k in STEPS if k <= last)}
    metrics = experiment.metrics or None
    curve = adaptation_curve(make, meta, experiment.test, steps=steps, num_tasks=num_tasks, metrics=metrics)
    plots.adaptation_curve(curve, path, title="Held-out tasks while adapting")


def _draw_returns(path: Path, experiment: Experiment, meta: Variables) -> None:
    """Draw the returns of held-out environments over the updates of the policy, as its learner reports them."""
    num_tasks = min(experiment.test_tasks, CURVE_TASKS)
    found = evaluate(experiment.headline, meta, experiment.test, num_tasks=num_tasks)
    numbered = {name.removeprefix("return/"): estimate for name, estimate in found.items() if "return/" in name}
    curve = {int(update): {"return": estimate} for update, estimate in numbered.items() if update.isdigit()}
    plots.adaptation_curve(curve, path, title="Held-out environments over updates of the policy")


def _draw_fits(path: Path, experiment: Experiment, meta: Variables, tasks: Task) -> None:
    x = tasks.query.x
    grid = jnp.linspace(x.min(), x.max(), GRID)[:, None]
    everywhere, curves = jnp.broadcast_to(grid, (NUM_TASKS, *grid.shape)), {}
    for name, learner in learners(experiment):
        curves[name] = _outputs(learner, meta, tasks.support, everywhere)
    plots.fits(tasks, grid, curves, path, title="Held-out functions before and after adaptation")


def _outputs(learner: MetaLearner, meta: Variables, support: Any, x: Any) -> Any:
    return jax.jit(jax.vmap(lambda s, x: learner.predict(meta, learner.adapt(meta, s), x)))(support, x)


def _is_curve(tasks: Task) -> bool:
    query = tasks.query
    if not isinstance(query, Batch) or not hasattr(query.x, "shape"):  # a dict of token ids has none
        return False
    return jnp.shape(query.x)[2:] == (1,) == jnp.shape(query.y)[2:]
