"""``jaxmeta train``: a recipe with its knobs as flags, into a run folder; one that was cut short, further; one anew."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import tyro

from jaxmeta import runs
from jaxmeta.callbacks import need
from jaxmeta.ranges import Count, NotNegative, Seed
from jaxmeta.recipes import RECIPES, Recipe
from jaxmeta.runs import Config, _folder, write_config
from jaxmeta.runs._compute import Compute
from jaxmeta.runs._limits import check_limits

from ._flags import naming_flags, read
from ._folder import Folder
from ._run import Log, Run, run

Flat = Annotated[Compute, tyro.conf.arg(name="")]

HOW = Compute()


class Call(NamedTuple):
    """The flags of a call: those that every recipe has, and the recipe's own."""

    seed: int
    out: Path | None
    minutes: float | None
    checkpoint_every: int
    log: tuple[Log, ...]
    compute: Compute
    arguments: dict[str, Any]


def train(args: list[str]) -> int:
    """Meta-trains a recipe, measures it, and returns the exit code."""
    for flag, function in (("--resume", resume), ("--again", again)):
        if any(arg.split("=")[0] == flag for arg in args):
            return tyro.cli(function, prog=f"jaxmeta train {flag} RUN", args=args)
    recipe, flags, arguments = read("train", Flags, args)
    with naming_flags(recipe):
        return _start(recipe, Call(**vars(flags), arguments=arguments))


def _start(recipe: Recipe, call: Call) -> int:
    """A new run."""
    call.compute.start()
    _check(call)
    name, experiment = recipe.name, recipe(**call.arguments)
    how, task = call.compute.kept(), experiment.prepare()
    check_limits(experiment, call.compute.accumulate, task)
    config = Config(name, call.arguments, call.seed, call.checkpoint_every, how, task=task)
    folder = _make_folder(name, call.out, config, experiment.num_steps)
    return run(Run(experiment, folder, config, call.compute, call.minutes, call.log))


def resume(
    *,
    resume: Folder,
    minutes: float | None = None,
    data_dir: str | None = None,
    log: tuple[Log, ...] = (),
    compute: Flat = HOW,
) -> int:
    """Goes on with a run from its newest checkpoint, and ends as if it had never been cut short.

    Recipe, arguments and seed are those of the run; over which devices it is spread may change.

    Args:
      resume: the run folder, here or under gs://.
      minutes: end training after so many, if it has not ended by then.
      data_dir: where the data is, if not where it was.
      log: tensorboard, wandb or both: where metrics go as well.
      compute: how it is computed; what decides the numbers is taken from the run.
    """
    compute.start()
    _check_logs(log)
    experiment, config = runs.build(resume, data_dir)
    if _folder.is_complete(resume):
        raise ValueError(f"`--resume`: the run in {str(resume)!r} has finished. To train anew, choose another `--out`.")
    compute = Compute(**{**vars(compute), **config.compute})
    return run(Run(experiment, resume, config, compute, minutes, log))


def again(
    *,
    again: Folder,
    seed: int | None = None,
    out: Folder | None = None,
    minutes: float | None = None,
    data_dir: str | None = None,
    log: tuple[Log, ...] = (),
    compute: Flat = HOW,
) -> int:
    """Trains anew what a run was asked to do, into a folder of its own.

    Args:
      again: the run folder, finished or not; it is left as it is.
      seed: by default that of the run.
      out: run folder, new or empty, here or under gs://; by default the next of runs/<recipe>-<n>.
      minutes: end training after so many, if it has not ended by then; measuring comes on top.
      data_dir: where the data is, if not where it was.
      log: tensorboard, wandb or both: where metrics go as well.
      compute: how it is computed; what decides the numbers is taken from the run.
    """
    config = runs.build(again, data_dir)[1]
    how = Compute(**{**vars(compute), **config.compute})
    seed = config.seed if seed is None else seed
    call = Call(seed, out, minutes, config.checkpoint_every, log, how, config.arguments)
    return _start(RECIPES[config.recipe or ""], call)


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
    compute: Flat = HOW


def _check(call: Call) -> None:
    for name, value in (("checkpoint-every", call.checkpoint_every), ("accumulate", call.compute.accumulate)):
        if value < 1:
            raise ValueError(f"`--{name}` must be at least 1, got {value}.")
    call.compute.profile_in(Path())
    _check_logs(call.log)
    if jax.process_count() > 1 and call.out is None:
        raise ValueError("several processes need one run folder, which all of them see: pass `--out`.")
    if jax.process_index() == 0:
        _folder.check_out(call.out)


def _check_logs(logs: tuple[Log, ...]) -> None:
    for log in logs:
        need(log)


def _make_folder(name: str, out: Path | None, config: Config, num_steps: int) -> Path:
    """The first process makes it; the others wait."""
    folder = out
    if jax.process_index() == 0:
        folder = _folder.create(name, out)
        write_config(folder, config, num_steps)
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices("run folder")
    assert folder is not None
    return folder
