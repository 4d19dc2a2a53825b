"""``jaxmeta train``: a recipe with its arguments as flags, into a run folder; resume a run; train one again."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from jaxmeta import runs
from jaxmeta.experiment import Experiment
from jaxmeta.ranges import Count, NotNegative, Seed
from jaxmeta.recipe import Recipe
from jaxmeta.runs import Compute
from jaxmeta.runs import _folder as files
from jaxmeta.runs._callbacks import Log
from jaxmeta.storage import as_path

from ._flags import Call, parse, read, read_for
from ._folder import Folder, own_recipe
from ._run import remove_if_empty, run

Flat = Annotated[Compute, tyro.conf.arg(name="")]

HERE = Compute()


@dataclass(frozen=True)
class Flags:
    """The flags of every recipe's training."""

    seed: Seed = 0
    """seed of everything random: parameters, tasks, and randomness within them"""
    out: Folder | None = None
    """run folder, new or empty, here or under gs://; by default the next of runs/<recipe>-<n>"""
    minutes: NotNegative | None = None
    """end training after this many minutes, if it has not ended by then; measuring comes on top"""
    checkpoint_every: Count = 500
    """steps between checkpoints, from which `jaxmeta train --resume RUN` continues"""
    log: tuple[Log, ...] = ()
    """tensorboard, wandb or both: further logs of the metrics, beside metrics.jsonl"""
    compute: Flat = HERE


def command(args: list[str]) -> Call:
    """Read the flags."""
    if _value("--resume", args) is not None:
        return parse(_resume, "jaxmeta train --resume RUN", args)
    if (folder := _value("--again", args)) is not None:
        return Call(_train, _read_again(folder, args), {})
    return Call(_train, read("train", Flags, args), {})


def _read_again(folder: str, args: list[str]) -> tuple[Recipe, Flags, dict[str, Any]]:
    """Read the flags of a new run whose defaults are the configuration of an older one."""
    reference, args = _value("--recipe", args), _without("--recipe", _without("--again", args))
    path, recipe = as_path(folder), own_recipe(reference)
    config = runs.read_config(path, recipe)
    recipe = runs.recipe_of(path, config, recipe)
    default = Flags(config.seed, checkpoint_every=config.checkpoint_every, compute=HERE.with_kept(config.compute))
    again = Recipe(recipe.function, recipe.name, config.arguments, recipe.about)
    note = "The defaults are the configuration of the run."
    return again, *read_for(again, partial(Flags, **vars(default)), f"jaxmeta train --again {folder}", args, note)


def _value(flag: str, args: list[str]) -> str | None:
    """Return the word after a flag, ``""`` if it is the last one, or None without the flag."""
    for word, following in pairwise([*args, ""]):
        name, equals, value = word.partition("=")
        if name == flag:
            return value if equals else following
    return None


def _without(flag: str, args: list[str]) -> list[str]:
    """Return the words without a flag and its value."""
    at = next((i for i, word in enumerate(args) if word.partition("=")[0] == flag), None)
    return args if at is None else args[:at] + args[at + 1 + ("=" not in args[at]) :]


def _train(recipe: Recipe, flags: Flags, arguments: dict[str, Any]) -> int:
    """Start a new run, and return the exit code."""
    flags.compute.start()
    if jax.process_count() > 1 and flags.out is None:
        raise ValueError("several processes need one run folder, which all of them see: pass `--out`.")
    if flags.out is not None and jax.process_index() == 0:
        files.check_new(flags.out)
    experiment = recipe(**arguments)
    experiment.prepare()
    folder = files.next_free(recipe.name) if flags.out is None else flags.out
    try:
        return run(partial(_into, experiment, folder, flags), experiment.num_steps)
    finally:
        if flags.out is None:
            remove_if_empty(folder)


def _into(experiment: Experiment, folder: Path, flags: Flags, progress: Any) -> runs.Result:
    return runs.train(
        experiment,
        folder,
        seed=flags.seed,
        compute=flags.compute,
        checkpoint_every=flags.checkpoint_every,
        minutes=flags.minutes,
        log=flags.log,
        progress=progress,
    )


def _resume(
    *,
    resume: Folder,
    recipe: str | None = None,
    minutes: NotNegative | None = None,
    data_dir: str | None = None,
    log: tuple[Log, ...] = (),
    compute: Flat = HERE,
) -> int:
    """Continue a run from its newest checkpoint; it ends as if it had never been cut short.

    Recipe, arguments and seed are those of the run. The devices may change.

    Args:
      resume: the run folder, here or under gs://.
      recipe: your own recipe, my_file.py:my_function, if the run was trained by one; its code is run.
      minutes: end training after so many, if it has not ended by then.
      data_dir: the data's folder, if it has moved.
      log: tensorboard, wandb or both: further logs of the metrics.
      compute: devices and memory; what decides the numbers is taken from the run.
    """
    compute.start()
    experiment = runs.build(resume, data_dir, own_recipe(recipe))[0]
    return run(
        lambda progress: runs.resume(resume, experiment, compute=compute, minutes=minutes, log=log, progress=progress),
        experiment.num_steps,
    )
