"""The run folder's pictures."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import plots
from ..evaluation import evaluate
from ..experiment import Experiment
from ..step import task_keys
from ..types import Batch, MetaLearner, Task, Variables
from . import _folder
from ._held_out import embedding, held_out, outputs
from ._measure import has_images, learners

NUM_TASKS, GRID = 4, 200
CURVE_TASKS = 256  # at most, for each point of the adaptation curve
POINTS = (0, 1, 2, 3, 5, 10, 20, 50, 100)  # inner steps; each is a program of its own


def draw_tasks(folder: Path, experiment: Experiment, meta: Variables, *, mesh: Any = None) -> None:
    """Those pictures of the trained learner that its tasks have: see `_folder`."""
    tasks = jax.jit(jax.vmap(experiment.test))(task_keys(jax.random.key(1), NUM_TASKS))
    if has_images(experiment.test):
        _draw_episodes(folder, experiment, meta, tasks)
        _draw_classes(folder, experiment, meta)
    elif _is_curve(tasks):
        _draw_fits(folder / _folder.FITS, experiment, meta, tasks)
    if experiment.make_learner is not None and any(experiment.test_steps):
        _draw_adaptation(folder / _folder.ADAPTATION, experiment, meta, mesh)


def _draw_episodes(folder: Path, experiment: Experiment, meta: Variables, tasks: Task) -> None:
    outputs = _outputs(experiment.headline, meta, tasks.support, tasks.query.x)
    plots.episodes(tasks, outputs, folder / _folder.EPISODES, title="Held-out classes after adaptation")


def _draw_classes(folder: Path, experiment: Experiment, meta: Variables) -> None:
    """What one larger task shows: which classes are taken for which, and where they lie."""
    learner = experiment.headline
    found = held_out(learner, meta, experiment.test)
    if found is None:
        return
    logits, labels = outputs(learner, meta, found)
    images = np.asarray(found.task.support.x[:: len(found.task.support.y) // found.num_ways])
    right = f"{100 * (logits.argmax(-1) == labels).mean():.0f} % of {labels.size} queries right"
    title = f"One task of {found.num_ways} held-out classes: {right}"
    plots.confusion(logits, labels, found.names, folder / _folder.CONFUSION, images=images, title=title)
    if (space := embedding(learner, meta, found)) is not None:
        features, prototypes = space
        options = {"names": found.names, "title": "Queries of held-out classes in the learned space"}
        plots.embedding_map(features, found.task.query.y, prototypes, folder / _folder.EMBEDDING, **options)


def _draw_adaptation(path: Path, experiment: Experiment, meta: Variables, mesh: Any) -> None:
    """From no step to the most that the recipe measures."""
    make, last = experiment.make_learner, max(experiment.test_steps)
    assert make is not None
    options = {"num_tasks": min(experiment.test_tasks, CURVE_TASKS), "mesh": mesh if jax.process_count() == 1 else None}
    steps = sorted({*experiment.test_steps, *(k for k in POINTS if k <= last)})
    curve = {k: evaluate(make(num_steps=k), meta, experiment.test, **options) for k in steps}
    plots.adaptation_curve(curve, path, title="Held-out tasks while adapting")


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
    return isinstance(query, Batch) and jnp.shape(query.x)[2:] == (1,) == jnp.shape(query.y)[2:]
