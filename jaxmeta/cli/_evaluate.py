"""``jaxmeta evaluate``: measure a run folder again."""

import json as jsonlib
from typing import Annotated, Literal

import jax
import tyro

from jaxmeta import checkpoint, runs
from jaxmeta.recipes import Experiment
from jaxmeta.runs import Measuring
from jaxmeta.runs._config import PARAMS
from jaxmeta.runs._json import plain
from jaxmeta.runs._trained import check_data_dir
from jaxmeta.step import init

from ._flags import Call, parse
from ._folder import Folder, own_recipe
from ._progress import Display
from ._results import console, table


def command(args: list[str]) -> Call:
    """Read the flags."""
    return parse(_evaluate, "jaxmeta evaluate", args)


def _evaluate(
    run: Annotated[Folder, tyro.conf.Positional],
    *,
    num_tasks: int = 1_000,
    split: Literal["test", "val"] = "test",
    num_inner_steps: int | None = None,
    data_dir: str | None = None,
    recipe: str | None = None,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Measure a trained run, beside its baselines, on tasks of classes it has not seen.

    Args:
      run: a run folder that `jaxmeta train` made.
      num_tasks: tasks to measure on; the first ones are those of training's own measurement.
      split: classes held out to the end, or those of validation.
      num_inner_steps: steps of adaptation; those of the recipe by default.
      data_dir: the data's folder. The one that the run names is not opened unasked.
      recipe: your own recipe, my_file.py:my_function, if the run was trained by one; its code is run.
      json: print JSON in place of the table.
    """
    experiment, config = runs.build(run, data_dir, own_recipe(recipe))
    check_data_dir(run, config, data_dir, "names the data that the run was trained on")
    if num_inner_steps is not None:
        experiment = _with_steps(experiment, num_inner_steps)
    sampler = experiment.test if split == "test" else experiment.val
    if sampler is None:
        raise ValueError("`--split val`: this run has no validation tasks, it was trained on those classes too.")
    learner, key = experiment.learner, jax.random.key(config.seed)
    like = jax.eval_shape(learner.init, key, config.task or experiment.example)
    meta = checkpoint.restore(run / PARAMS, like)  # before anything of this size is made
    initial = init(learner, experiment.train, experiment.optimizer, key=key).meta
    with Display(stderr=json) as display:
        rows = runs.measure(
            experiment,
            meta,
            initial=initial,
            sampler=sampler,
            num_tasks=num_tasks,
            progress=lambda name: display(Measuring(name, num_tasks)),
        )
    if json:
        print(
            jsonlib.dumps(plain({"rows": [row._asdict() for row in rows], "published": experiment.published}), indent=2)
        )
    else:
        console().print(table(rows, experiment.published))
    return 0


def _with_steps(experiment: Experiment, num_inner_steps: int) -> Experiment:
    if experiment.make_learner is None:
        raise ValueError("`--num-inner-steps`: this recipe's learner does not adapt by steps.")
    if num_inner_steps < 1:
        raise ValueError(f"`--num-inner-steps` must be at least 1, got {num_inner_steps}; 0 steps are always shown.")
    return experiment._replace(test_steps=(num_inner_steps,))
