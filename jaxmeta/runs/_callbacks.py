"""The callbacks with which a run calls `fit`: journals, loggers, signals and the time limit."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import jax
import numpy as np

from .. import callbacks, checkpoint
from ..callbacks import Progress
from ..storage import is_remote
from . import _folder
from ._config import Config
from ._journal import Journal
from ._owner import Owner

Log = Literal["tensorboard", "wandb"]


def stopper(stop: threading.Event, begin: int) -> Callable[[Progress], bool]:
    """Return a callback that ends training after a signal; of several processes, all end at the same step."""
    agreed = begin

    def stopped(at: Progress) -> bool:
        nonlocal agreed
        if jax.process_count() > 1:
            from jax.experimental.multihost_utils import reached_preemption_sync_point as reached

            if any([reached(step) for step in range(agreed + 1, at.step + 1)]):  # jax agrees on one of these steps
                stop.set()
            agreed = at.step
        return stop.is_set()

    return stopped


def time_limit(minutes: float | None) -> Callable[[Progress], bool]:
    """Return a callback that ends training after so many minutes by the clock of process 0."""
    begin = time.perf_counter()

    def over(at: Progress) -> bool:
        if minutes is None:
            return False
        late = time.perf_counter() - begin >= 60 * minutes
        if jax.process_count() > 1:
            from jax.experimental.multihost_utils import broadcast_one_to_all

            late = bool(broadcast_one_to_all(np.array(late)))
        return late

    return over


def recorder(
    rows: Journal, timing: Journal, keeper: checkpoint.Keeper, owner: Owner | None
) -> Callable[[Progress], None]:
    """Return a callback that writes a row per interval: numbers that a seed repeats, and apart from them the times."""
    begin = time.perf_counter()

    def record(at: Progress) -> None:
        row = {"step": at.step, **{name: float(value) for name, value in sorted(at.metrics.items())}}
        for name, estimate in sorted((at.estimates or {}).items()):
            row |= {f"eval/{name}": estimate.mean, f"eval/{name}/ci95": estimate.ci95}
        rows.add(row)
        seconds = round(time.perf_counter() - begin, 3)
        timing.add({"step": at.step, "seconds": seconds, "tasks_per_second": round(at.tasks_per_second, 2)})
        if keeper.due(at):
            if owner is not None:
                owner.check()
            rows.flush()
            timing.flush()

    return record


@contextmanager
def loggers(logs: Sequence[Log], folder: Any, config: Config, begin: int) -> Iterator[list[Callable[[Progress], Any]]]:
    """Open TensorBoard and Weights & Biases, in the first process, and close them at the end."""
    with ExitStack() as stack:
        opened: list[Callable[[Progress], Any]] = []
        for log in logs if jax.process_index() == 0 else ():
            if log == "tensorboard":
                first_step = begin + 1 if begin else None
                one = callbacks.tensorboard(folder / _folder.TENSORBOARD, first_step=first_step)
            else:
                about = config._replace(compute=dict(config.compute), task=None)._asdict()
                place = {} if is_remote(folder) else {"dir": str(folder)}  # else WANDB_DIR, or the working directory
                one = callbacks.wandb(name=folder.name, config=about, **place)
            opened.append(stack.enter_context(one))
        yield opened
