"""Load a trained learner: built again from the recipe, with the meta-parameters of the run."""

import os
import shlex
from pathlib import Path
from typing import NamedTuple

import jax

from .. import checkpoint
from ..experiment import Experiment
from ..recipe import Recipe
from ..storage import as_path
from ..types import MetaLearner, Task, Variables
from ._config import CONFIG, PARAMS, Config, read_config


class Trained(NamedTuple):
    """A learner and its trained meta-parameters.

    Attributes:
      learner: with the inner steps of the run's headline figure.
      meta: the trained meta-parameters.
      task: shapes of a training task.
      config: the configuration of the run.
    """

    learner: MetaLearner
    meta: Variables
    task: Task
    config: Config

    def __repr__(self) -> str:
        return f"Trained(recipe={self.config.recipe!r}, seed={self.config.seed})"


def load(
    path: str | os.PathLike[str],
    *,
    learner: MetaLearner | None = None,
    recipe: Recipe | None = None,
    data_dir: str | None = None,
    num_steps: int | None = None,
) -> Trained:
    """Read a run folder. The data that it was trained on is not needed.

    Args:
      path: a folder that `jaxmeta train`, or an estimator's ``save``, made; ``gs://...`` is fine.
      learner: a learner of your own, as it was trained; by default the recipe builds it again.
      recipe: a recipe of your own, if it trained the run: ``jm.recipes.find("my_file.py:my_function")``.
      data_dir: the data's folder, for runs whose configuration does not hold the shapes of their tasks. The folder
        that the run names is not opened unasked, as the run may be a stranger's.
      num_steps: inner steps of adaptation; by default those of the saved estimator, or of the recipe's headline
        figure.

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
        learner, config = _of_recipe(folder, data_dir, num_steps, recipe)
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
    """Return the shapes of the parameters. The task is from a file, and networks raise any error for wrong inputs."""
    try:
        return jax.eval_shape(learner.init, jax.random.key(0), task)
    except Exception as error:
        raise ValueError(
            f"`path`: the tasks that {path!r} describes do not fit its learner ({type(error).__name__}: {error}). Pass "
            "the `learner` that was trained, or restore config.json."
        ) from error


def _of_recipe(
    folder: Path, data_dir: str | None, num_steps: int | None, recipe: Recipe | None
) -> tuple[MetaLearner, Config]:
    from ..arguments import arguments_of

    e, config = build(folder, data_dir, recipe)
    if config.task is None and "data_dir" in arguments_of(recipe_of(folder, config, recipe)):
        why = "does not say what the run's tasks look like; its data would tell"
        check_data_dir(folder, config, data_dir, why, default=True)
    steps = config.num_inner_steps if num_steps is None else num_steps
    config = config._replace(task=config.task or e.example, num_inner_steps=steps)
    if steps is None:
        return e.headline, config
    if e.make_learner is None:
        raise ValueError("`num_steps`: this run's learner does not adapt by steps.")
    return e.make_learner(num_steps=steps), config


def build(folder: Path, data_dir: str | None = None, recipe: Recipe | None = None) -> tuple[Experiment, Config]:
    """Build the experiment of a run again.

    Args:
      folder: the run folder.
      data_dir: the data's folder, if it has moved.
      recipe: the user's own recipe that trained the run. It is never imported because a file names it.

    Raises:
      ValueError: as `read_config`; for a ``data_dir`` that the recipe does not take; if the run has no recipe, or one
        of a user's own that is not passed.
    """
    from ..arguments import arguments_of

    config = read_config(folder, recipe)
    recipe, arguments = recipe_of(folder, config, recipe), dict(config.arguments)
    if data_dir is not None:
        if "data_dir" not in arguments_of(recipe):
            raise ValueError(f"`data_dir`: the recipe {config.recipe} reads no data.")
        arguments["data_dir"] = data_dir
    experiment = recipe(**arguments)._replace(recipe=config.recipe)
    return experiment, config._replace(arguments=arguments)


def recipe_of(folder: Path, config: Config, recipe: Recipe | None = None) -> Recipe:
    """Return the recipe of a run: a built-in one, or the user's own that is passed.

    Raises:
      ValueError: if the run has no recipe, or one of a user's own that is not passed.
    """
    from ..recipes import RECIPES

    if recipe is not None:
        return recipe
    if config.recipe is None:
        raise ValueError(f"{str(folder)!r} holds a learner of your own: pass it as `learner`.")
    if config.is_reference:
        raise ValueError(
            f"`recipe`: {str(folder / CONFIG)!r} names {config.recipe}, which is not imported because a file names it. "
            f"If you trust that code, pass `--recipe {shlex.quote(config.recipe)}`; in Python, pass the recipe."
        )
    return RECIPES[config.recipe]


def check_data_dir(folder: Path, config: Config, data_dir: str | None, why: str, *, default: bool = False) -> None:
    """Refuse to open data only because a run folder, which may be a stranger's, names it.

    Args:
      folder: the run folder.
      config: its configuration.
      data_dir: the folder that the caller names.
      why: the reason for which data would be opened, for the message.
      default: refuse the default folder too, which a configuration without a name stands for.

    Raises:
      ValueError: if the configuration names a data folder, and the caller none.
    """
    named = config.arguments.get("data_dir")
    if data_dir is None and (named is not None or default):
        raise ValueError(
            f"`data_dir` is None, and {str(folder / CONFIG)!r} {why}. The folder that it names ({named!r}) is not "
            "opened unasked: pass `data_dir`, the same if you trust it."
        )
