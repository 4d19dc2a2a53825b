"""A run: an experiment trained into its folder, saved as it goes, measured, and drawn."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta import checkpoint, parallel, plots
from jaxmeta.fit import Diverged, Progress, fit
from jaxmeta.recipes import Experiment
from jaxmeta.step import init
from jaxmeta.types import MetaState, Variables

from . import _folder
from ._compute import Compute
from ._measure import Rows, measure, table
from ._pictures import draw_tasks
from ._progress import show_progress
from ._signals import EXIT, stop_on_signals

DIVERGED = 3


class Run(NamedTuple):
    """What is run, where its results go, and how."""

    experiment: Experiment
    folder: Path
    config: _folder.Config
    compute: Compute
    minutes: float | None = None


def run(r: Run) -> int:
    """Trains from the newest checkpoint, or from the start, and returns the exit code. However it ends, what was
    reached is kept."""
    e = r.compute.applied(r.experiment)
    mesh, shard = r.compute.mesh_of(e), parallel.fsdp() if r.compute.fsdp else None
    keeper = checkpoint.keep(r.folder / _folder.CHECKPOINTS, every=r.config.checkpoint_every)
    start = init(e.learner, e.train, e.optimizer, key=jax.random.key(r.config.seed))
    state = keeper.restore(start, mesh=mesh, shard=shard)
    rows, begin = _folder.rows_until(r.folder, 0 if state is None else int(state.step)), state or start
    _say(f"{r.config.recipe}: {e.num_steps} steps of {e.tasks_per_step} tasks, into {r.folder}", begin)
    status, message, results = "finished", "", []
    with stop_on_signals(forward=jax.process_count() > 1) as stop:
        ends = [lambda at: _stopped(stop, at), _time_limit(r.minutes)]
        try:
            with _progress(e.num_steps) as progress:
                callbacks = [_recorder(r.folder, rows), progress, keeper, *ends]
                options: dict[str, Any] = {
                    "num_steps": e.num_steps,
                    "tasks_per_step": e.tasks_per_step,
                    "log_every": e.log_every,
                }
                options |= {"chunk": e.chunk, "mesh": mesh, "shard": shard, "guard": r.compute.guard}
                if e.eval_every is not None:
                    options |= {"eval_sampler": e.val, "eval_every": e.eval_every, "eval_tasks": e.eval_tasks}
                state, _ = fit(e.learner, e.train, e.optimizer, begin, callbacks=callbacks, **options)
        except Diverged as error:
            state, status, message = error.state, "diverged", str(error)
        status = "interrupted" if stop.is_set() else status
        keeper.save(state)
        meta = local(state.meta, mesh)
        checkpoint.save(r.folder / _folder.PARAMS, meta)
        if status == "finished":
            results = _measure(e, meta, start.meta, mesh, stop.is_set)
        status = "interrupted" if stop.is_set() else status
        if _first():
            _draw(r, e, rows, meta, status)
            _write_results(r.folder, e, int(state.step), status, message, results)
        keeper.close()
    return _finish(r, e, status, message, results, int(state.step))


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


def _stopped(stop: Any, at: Progress) -> bool:
    """Whether a signal came; of several processes, whether one came to any, at the same step for all."""
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import reached_preemption_sync_point

        if reached_preemption_sync_point(at.step):
            stop.set()
    return stop.is_set()


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


def _recorder(folder: Path, rows: Rows) -> Callable[[Progress], None]:
    """Writes a row per interval: what is the same in every run of a seed, and apart from it what is not."""
    begin = time.perf_counter()

    def record(at: Progress) -> None:
        row = {"step": at.step, **{name: float(value) for name, value in sorted(at.metrics.items())}}
        for name, estimate in sorted((at.estimates or {}).items()):
            row |= {f"eval/{name}": estimate.mean, f"eval/{name}/ci95": estimate.ci95}
        rows.append(row)
        if _first():
            _folder.append(folder / _folder.METRICS, row)
            seconds = round(time.perf_counter() - begin, 3)
            timing = {"seconds": seconds, "tasks_per_second": round(at.tasks_per_second, 2)}
            _folder.append(folder / _folder.TIMING, {"step": at.step, **timing})

    return record


def _measure(e: Experiment, meta: Variables, initial: Variables, mesh: Any, stopped: Callable[[], bool]) -> Rows:
    from rich.console import Console

    with Console(quiet=not _first()).status("measuring on held-out tasks") as status:
        say = lambda name: status.update(f"measuring on held-out tasks: {name}")
        stopped = stopped if jax.process_count() == 1 else lambda: False  # what all processes do, they do alike
        return measure(e, meta, initial, e.test, e.test_tasks, mesh=mesh, say=say, stopped=stopped)


def _draw(r: Run, e: Experiment, rows: Rows, meta: Variables, status: str) -> None:
    if rows:
        plots.learning_curve(rows, r.folder / "learning_curve.png", title=f"Training, seed {r.config.seed}")
    if status == "finished":
        draw_tasks(r.folder, e, meta)


def _write_results(folder: Path, e: Experiment, step: int, status: str, message: str, rows: Rows) -> None:
    about = {"format": _folder.FORMAT, "status": status, "step": step, "num_steps": e.num_steps}
    about |= {"message": message} if message else {}
    _folder.write_json(folder / _folder.RESULTS, {**about, "rows": rows, "published": e.published})


def _finish(r: Run, e: Experiment, status: str, message: str, rows: Rows, step: int) -> int:
    from rich.console import Console

    console = Console(markup=False, highlight=False, quiet=not _first())
    if rows:
        console.print(table(rows, e.published))
    if status == "finished":
        console.print(f"run folder: {r.folder}   (again, on other tasks: jaxmeta evaluate {r.folder})", soft_wrap=True)
        return 0
    if message:
        console.print(message, soft_wrap=True)
    kept = f"{status} at step {step} of {e.num_steps}; what was reached is in {r.folder}"
    console.print(f"{kept} (to go on: jaxmeta train --resume {r.folder})", soft_wrap=True)
    return EXIT if status == "interrupted" else DIVERGED
