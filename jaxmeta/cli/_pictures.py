"""The run folder's pictures."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxmeta import plots
from jaxmeta.recipes import Experiment
from jaxmeta.step import task_keys
from jaxmeta.types import Batch, MetaLearner, Task, Variables

from ._measure import has_images, learners

NUM_TASKS, GRID = 4, 200


def draw_tasks(folder: Path, experiment: Experiment, meta: Variables) -> None:
    """Episodes with predictions for images, fits for regression from one number to one; else nothing."""
    tasks = jax.jit(jax.vmap(experiment.test))(task_keys(jax.random.key(1), NUM_TASKS))
    if has_images(experiment.test):
        outputs = _outputs(learners(experiment)[-1][1], meta, tasks.support, tasks.query.x)
        plots.episodes(tasks, outputs, folder / "episodes.png", title="Held-out classes after adaptation")
    elif _is_curve(tasks):
        _draw_fits(folder / "fits.png", experiment, meta, tasks)


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
