"""``jaxmeta evaluate``: measures a run folder again."""

import json
from typing import Annotated, Literal

import jax
import tyro

from jaxmeta import checkpoint, runs
from jaxmeta.recipes import Experiment
from jaxmeta.runs._config import PARAMS
from jaxmeta.runs._json import plain
from jaxmeta.runs._measure import measure
from jaxmeta.step import init

from ._folder import Folder
from ._progress import show_measuring
from ._results import table


def evaluate(args: list[str]) -> int:
    """Reads the flags and returns the exit code."""
    return tyro.cli(_evaluate, prog="jaxmeta evaluate", args=args)


def _evaluate(
    run: Annotated[Folder, tyro.conf.Positional],
    *,
    num_tasks: int = 1_000,
    split: Literal["test", "val"] = "test",
    num_inner_steps: int | None = None,
    data_dir: str | None = None,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Measures what a run has learned, beside its baselines, on tasks of classes it has not seen.

    Args:
      run: a run folder that `jaxmeta train` made.
      num_tasks: tasks to measure on; the first ones are those of training's own measurement.
      split: classes held out to the end, or those of validation.
      num_inner_steps: steps of adaptation; those of the recipe by default.
      data_dir: where the data is, if not where it was in training.
      json: print JSON in place of the table.
    """
    experiment, config = runs.build(run, data_dir)
    if num_inner_steps is not None:
        experiment = _with_steps(experiment, num_inner_steps)
    sampler = experiment.test if split == "test" else experiment.val
    if sampler is None:
        raise ValueError("`--split val`: this run has no validation tasks, it was trained on those classes too.")
    initial = init(experiment.learner, experiment.train, experiment.optimizer, key=jax.random.key(config.seed)).meta
    meta = checkpoint.restore(run / PARAMS, initial)
    with show_measuring(num_tasks, stderr=json) as say:
        rows = measure(experiment, meta, initial, sampler, num_tasks, say=say)
    _print(rows, experiment.published, as_json=json)
    return 0


def _with_steps(experiment: Experiment, num_inner_steps: int) -> Experiment:
    if experiment.make_learner is None:
        raise ValueError("`--num-inner-steps`: this recipe's learner does not adapt by steps.")
    if num_inner_steps < 1:
        raise ValueError(f"`--num-inner-steps` must be at least 1, got {num_inner_steps}; 0 steps are always shown.")
    return experiment._replace(test_steps=(num_inner_steps,))


def _print(rows: list, published: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plain({"rows": rows, "published": published}), indent=2))
        return
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False).print(table(rows, published))
