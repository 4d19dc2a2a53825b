"""What a run has learned, ready to adapt: its learner built again from the recipe, and its meta-parameters."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxmeta import checkpoint
from jaxmeta.storage import as_path
from jaxmeta.types import MetaLearner, Task, Variables

from ._config import CONFIG, PARAMS, Config, read_config


class Trained(NamedTuple):
    """A learner and what it has learned.

    Attributes:
      learner: as the run's headline figure was measured, with as many inner steps.
      meta: its meta-parameters.
      task: shapes of a training task.
      config: how it came about.
    """

    learner: MetaLearner
    meta: Variables
    task: Task
    config: Config

    def __repr__(self) -> str:
        return f"Trained(recipe={self.config.recipe!r}, seed={self.config.seed})"


def load(
    path: str | os.PathLike,
    *,
    learner: MetaLearner | None = None,
    data_dir: str | None = None,
    num_steps: int | None = None,
) -> Trained:
    """Reads a run folder. The data that it was trained on is not needed.

    Args:
      path: a folder that `jaxmeta train`, or an estimator's ``save``, made; ``gs://...`` is fine.
      learner: for what a learner of one's own has learned; by default the recipe's is built again.
      data_dir: the data's folder, for runs that do not say what their tasks look like: one look at it tells. The one
        that the run names is not opened unasked, as the run may be a stranger's.
      num_steps: inner steps of adaptation; by default those with which an estimator was saved, or of the recipe's
        headline figure.

    Raises:
      ValueError: if it is not a run folder, or of another learner: then the leaves that differ are named; if only data
        could tell what its tasks look like, and `data_dir` is None.

    Example:
      >>> import tempfile, jaxmeta as jm
      >>> from jaxmeta.runs import Config, write_config
      >>> folder = Path(tempfile.mkdtemp())
      >>> e = jm.recipes.sinusoid_maml()
      >>> write_config(folder, Config("sinusoid_maml", {}, 0, task=jax.eval_shape(e.train, jax.random.key(0))))
      >>> jm.checkpoint.save(folder / "params", e.learner.init(jax.random.key(0), e.train(jax.random.key(0))))
      >>> sorted(load(folder).meta.params)
      ['dense0', 'dense1', 'head']
    """
    folder = as_path(path)
    if learner is None:
        learner, config = _of_recipe(folder, data_dir, num_steps)
    elif num_steps is not None:
        raise ValueError(f"`num_steps` is {num_steps}, but a `learner` of your own has its steps: build it with those.")
    else:
        config = read_config(folder)
    if (task := config.task) is None:
        raise ValueError(f"`path`: {str(path)!r} does not say what its tasks look like. Load it without `learner`.")
    like = _parameters(learner, task, str(path))
    meta = checkpoint.restore(folder / PARAMS, like) if jax.tree.leaves(like) else like
    return Trained(learner, meta, task, config)


def _parameters(learner: MetaLearner, task: Task, path: str) -> Variables:
    """Their shapes. The task is from a file, and a network raises what it likes for inputs that are not its own."""
    try:
        return jax.eval_shape(learner.init, jax.random.key(0), task)
    except Exception as error:
        raise ValueError(
            f"`path`: the tasks that {path!r} describes do not fit its learner ({type(error).__name__}: {error}). Pass "
            "the `learner` that was trained, or restore config.json."
        ) from error


def _of_recipe(folder: Path, data_dir: str | None, num_steps: int | None) -> tuple[MetaLearner, Config]:
    e, config = build(folder, data_dir)
    if config.task is None and data_dir is None and _reads_data(config):
        named = config.arguments.get("data_dir")
        raise ValueError(
            f"`data_dir` is None, and {str(folder / CONFIG)!r} does not say what the run's tasks look like; its data "
            f"would tell. What it names ({named!r}) is not opened unasked: pass `data_dir`, the same if you trust it."
        )
    steps = config.num_inner_steps if num_steps is None else num_steps
    config = config._replace(task=config.task or e.example, num_inner_steps=steps)
    if steps is None:
        return e.headline, config
    if e.make_learner is None:
        raise ValueError("`num_steps`: this run's learner does not adapt by steps.")
    return e.make_learner(num_steps=steps), config


def build(folder: Path, data_dir: str | None = None) -> tuple[Any, Config]:
    """The experiment of a run, made again.

    Raises:
      ValueError: as `read_config`, for a ``data_dir`` that the recipe does not take, or where there is no recipe.
    """
    from jaxmeta.recipes import RECIPES

    config = read_config(folder)
    if config.recipe is None:
        raise ValueError(f"{str(folder)!r} holds a learner of your own: pass it as `learner`.")
    arguments = dict(config.arguments)
    if data_dir is not None:
        if not _reads_data(config):
            raise ValueError(f"`--data-dir`: the recipe {config.recipe} reads no data.")
        arguments["data_dir"] = data_dir
    return RECIPES[config.recipe](**arguments), config._replace(arguments=arguments)


def _reads_data(config: Config) -> bool:
    """Whether the recipe takes a ``data_dir``."""
    from jaxmeta.recipes import RECIPES

    from ..arguments import arguments_of

    return config.recipe is not None and "data_dir" in arguments_of(RECIPES[config.recipe])
