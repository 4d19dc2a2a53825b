"""Run `jaxmeta.runs` for a command: show its progress, print how it ended, return an exit code."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax

from jaxmeta.runs import ProcessLost, Result, read_config
from jaxmeta.runs import _folder as files
from jaxmeta.runs._config import command

from ._progress import INTERRUPTED as INTERRUPTED
from ._progress import Display
from ._results import console

DIVERGED, LOST = 3, 4


def run(act: Callable[[Display], Result], num_steps: int) -> int:
    """Call ``act`` with a progress callback and return the exit code.

    Args:
      act: calls `jaxmeta.runs.train` or `resume`.
      num_steps: the meta-steps of the whole run.
    """
    try:
        with Display() as display:
            result = act(display)
    except ProcessLost as error:
        print(f"jaxmeta: error: {error}", file=sys.stderr, flush=True)
        os._exit(LOST)  # jax would wait for the lost process, and for its part of a checkpoint
    if jax.process_index() == 0:
        _print(result, num_steps)
    return {"finished": 0, "interrupted": INTERRUPTED, "diverged": DIVERGED}[result.status]


def _print(result: Result, num_steps: int) -> None:
    say, folder, recipe = console(), result.folder, read_config(result.folder).recipe
    if result.status == "finished":
        again = command(f"jaxmeta evaluate {folder}", recipe)
        say.print(f"run folder: {folder}   (again, on more tasks: {again})", soft_wrap=True)
        say.print(f"to look at: {folder / files.REPORT}", soft_wrap=True)
        return
    if result.message:
        say.print(result.message, soft_wrap=True)
    kept = f"{result.status} at step {result.step} of {num_steps}; what was reached is in {folder}"
    say.print(f"{kept} (to continue: {command(f'jaxmeta train --resume {folder}', recipe)})", soft_wrap=True)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that was made for a run which could not start, and ``runs`` if nothing else is in it."""
    try:
        os.removedirs(folder)
    except OSError:
        pass
