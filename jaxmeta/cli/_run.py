"""A run: an experiment trained into its folder, saved as it goes, measured, and drawn."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta import callbacks, checkpoint, parallel, plots
from jaxmeta.callbacks import Progress
from jaxmeta.fit import Diverged, fit
from jaxmeta.recipes import Experiment
from jaxmeta.runs import Config, _folder
from jaxmeta.runs._compute import Compute
from jaxmeta.runs._config import FORMAT, PARAMS
from jaxmeta.runs._journal import Journal, journal
from jaxmeta.runs._json import write_json
from jaxmeta.runs._machine import about as made_with
from jaxmeta.runs._measure import Rows, measure
from jaxmeta.runs._pictures import draw_tasks
from jaxmeta.runs._records import clean
from jaxmeta.runs._report import write_report
from jaxmeta.runs._signals import EXIT, stop_on_signals
from jaxmeta.step import init
from jaxmeta.storage import is_remote
from jaxmeta.types import MetaState, Variables

from ._progress import show_measuring, show_progress
from ._results import table

DIVERGED, LOST = 3, 4
Log = Literal["tensorboard", "wandb"]


class Run(NamedTuple):
    """What is run, where its results go, and how."""

    experiment: Experiment
    folder: Path
    config: Config
    compute: Compute
    minutes: float | None = None
    logs: tuple[Log, ...] = ()


def run(r: Run) -> int:
    """Trains from the newest checkpoint, or from the start, and returns the exit code; what was reached is kept."""
    try:
        return _run(r)
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        _lost(error)


def _run(r: Run) -> int:
    e = r.compute.applied(r.experiment)
    mesh, shard = r.compute.mesh_of(e), r.compute.shard
    keeper = checkpoint.keep(r.folder / _folder.CHECKPOINTS, every=r.config.checkpoint_every)
    start = init(e.learner, e.train, e.optimizer, key=jax.random.key(r.config.seed))
    begin = keeper.restore(start, mesh=mesh, shard=shard) or start
    rows, timing = (journal(r.folder / name, int(begin.step)) for name in (_folder.METRICS, _folder.TIMING))
    tasks = f"{e.tasks_per_step} task{'s' * (e.tasks_per_step != 1)}"
    _say(f"{r.config.recipe}: {e.num_steps} steps of {tasks}, into {r.folder}", begin)
    if _first() and (note := e.note()):
        print(clean(note), flush=True)
    with ExitStack() as logs, stop_on_signals(forward=jax.process_count() > 1) as stop:
        ends = [_stopper(stop, int(begin.step)), _time_limit(r.minutes)]
        recorders = [_recorder(rows, timing, keeper), *_loggers(r, int(begin.step), logs)]
        state, message = _fit(r, e, begin, (mesh, shard), [*recorders, *ends, keeper])
        logs.close()
        status = "diverged" if message else "interrupted" if stop.is_set() else "finished"
        _flush(rows, timing)
        keeper.save(state)
        meta, results = local(state.meta, mesh), []
        checkpoint.save(r.folder / PARAMS, meta)
        if status == "finished":
            results = _measure(e, meta, start.meta, mesh, stop.is_set)
            status = "interrupted" if stop.is_set() else status
        if _first():
            _write_results(r.folder, e, int(state.step), status, message, results)
            _draw(r, e, rows.rows, meta, status, mesh)
        keeper.close()
    return _finish(r, e, status, message, results, int(state.step))


def _fit(r: Run, e: Experiment, state: MetaState, lies: tuple, callbacks: list[Callable]) -> tuple[MetaState, str]:
    """The state that was reached, and why training diverged, if it did."""
    options: dict[str, Any] = {"num_steps": e.num_steps, "tasks_per_step": e.tasks_per_step, "log_every": e.log_every}
    options |= {"chunk": e.chunk, "mesh": lies[0], "shard": lies[1], "guard": r.compute.guard}
    options["profile"] = r.compute.profile_in(r.folder)
    if e.eval_every is not None:
        options |= {"eval_sampler": e.val, "eval_every": e.eval_every, "eval_tasks": e.eval_tasks}
    try:
        with _progress(e.num_steps) as progress:
            return fit(e.learner, e.train, e.optimizer, state, callbacks=[progress, *callbacks], **options)[0], ""
    except Diverged as error:
        return error.state, str(error)


def _lost(error: Exception) -> NoReturn:
    """Without the others there is nothing to wait for: not even for the end of their part of a checkpoint."""
    me, processes = jax.process_index(), jax.process_count()
    others = ", ".join(str(i) for i in range(processes) if i != me)
    which = f"process {others} has" if processes == 2 else f"one of the processes {others} has"
    reason = str(error).splitlines()[0][:300]
    print(f"jaxmeta: error: {which} ended or cannot be reached, says process {me} ({reason}). "
          "Start all of them again with `jaxmeta train --resume RUN`.", file=sys.stderr, flush=True)  # fmt: skip
    os._exit(LOST)


def local(meta: Variables, mesh: Any) -> Variables:
    """Whole arrays of this process alone, wherever their parts lay."""
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), parallel.place(meta, mesh))


def _first() -> bool:
    return jax.process_index() == 0


def _say(text: str, state: MetaState) -> None:
    if _first():
        step = int(state.step)
        print(f"{text}, from step {step}" if step else text, flush=True)


def _progress(num_steps: int) -> Any:
    return show_progress(num_steps) if _first() else nullcontext(lambda at: None)


def _stopper(stop: Any, begin: int) -> Callable[[Progress], bool]:
    """Whether a signal came; of several processes, whether one came to any, at the same step for all."""
    asked = begin

    def stopped(at: Progress) -> bool:
        nonlocal asked
        if jax.process_count() > 1:
            from jax.experimental.multihost_utils import reached_preemption_sync_point as reached

            if any([reached(step) for step in range(asked + 1, at.step + 1)]):  # jax agrees on one of these steps
                stop.set()
            asked = at.step
        return stop.is_set()

    return stopped


def _time_limit(minutes: float | None) -> Callable[[Progress], bool]:
    """After so many minutes by the clock of process 0, which the others ask."""
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


def _recorder(rows: Journal, timing: Journal, keeper: checkpoint.Keeper) -> Callable[[Progress], None]:
    """Writes a row per interval: what is the same in every run of a seed, and apart from it what is not."""
    begin = time.perf_counter()

    def record(at: Progress) -> None:
        row = {"step": at.step, **{name: float(value) for name, value in sorted(at.metrics.items())}}
        for name, estimate in sorted((at.estimates or {}).items()):
            row |= {f"eval/{name}": estimate.mean, f"eval/{name}/ci95": estimate.ci95}
        rows.add(row)
        seconds = round(time.perf_counter() - begin, 3)
        timing.add({"step": at.step, "seconds": seconds, "tasks_per_second": round(at.tasks_per_second, 2)})
        if keeper.due(at):
            _flush(rows, timing)

    return record


def _flush(*journals: Journal) -> None:
    for one in journals:
        one.flush()


def _loggers(r: Run, begin: int, logs: ExitStack) -> list[Callable[[Progress], Any]]:
    """Those that ``--log`` asks for, closed with ``logs``; ``metrics.jsonl`` is written all the same."""
    made, config = [], r.config._replace(compute=dict(r.config.compute), task=None)._asdict()
    for log in r.logs if _first() else ():
        if log == "tensorboard":
            opened = callbacks.tensorboard(r.folder / _folder.TENSORBOARD, first_step=begin + 1 if begin else None)
        else:
            place = {} if is_remote(r.folder) else {"dir": str(r.folder)}  # else WANDB_DIR, or where it was started
            opened = callbacks.wandb(name=r.folder.name, config=config, **place)
        made.append(logs.enter_context(opened))
    return made


def _measure(e: Experiment, meta: Variables, initial: Variables, mesh: Any, stopped: Callable[[], bool]) -> Rows:
    stopped = stopped if jax.process_count() == 1 else lambda: False  # what all processes do, they do alike
    with show_measuring(e.test_tasks, quiet=not _first()) as say:
        return measure(e, meta, initial, e.test, e.test_tasks, mesh=mesh, say=say, stopped=stopped)


def _draw(r: Run, e: Experiment, rows: Rows, meta: Variables, status: str, mesh: Any) -> None:
    """Pictures, and the page that shows them."""
    if rows:
        plots.learning_curve(rows, r.folder / _folder.LEARNING, title=f"Training, seed {r.config.seed}")
    if status == "finished":
        draw_tasks(r.folder, e, meta, mesh=mesh)
    write_report(r.folder)


def _write_results(folder: Path, e: Experiment, step: int, status: str, message: str, rows: Rows) -> None:
    about = {"format": FORMAT, "status": status, "step": step, "num_steps": e.num_steps}
    about |= {"message": message} if message else {}
    write_json(folder / _folder.RESULTS, {**about, "rows": rows, "published": e.published, "about": made_with()})


def _finish(r: Run, e: Experiment, status: str, message: str, rows: Rows, step: int) -> int:
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False, quiet=not _first())
    if rows:
        console.print(table(rows, e.published))
    if status == "finished":
        console.print(f"run folder: {r.folder}   (again, on more tasks: jaxmeta evaluate {r.folder})", soft_wrap=True)
        console.print(f"to look at: {r.folder / _folder.REPORT}", soft_wrap=True)
        return 0
    if message:
        console.print(message, soft_wrap=True)
    kept = f"{status} at step {step} of {e.num_steps}; what was reached is in {r.folder}"
    console.print(f"{kept} (to go on: jaxmeta train --resume {r.folder})", soft_wrap=True)
    return EXIT if status == "interrupted" else DIVERGED
