"""``jaxmeta train``: a recipe with its knobs as flags, into a run folder."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxmeta import checkpoint, plots
from jaxmeta.fit import Diverged, Progress, fit
from jaxmeta.recipes import RECIPES, Experiment
from jaxmeta.step import init
from jaxmeta.types import MetaState

from . import _folder
from ._flags import read
from ._measure import Rows, measure, table
from ._pictures import draw_tasks
from ._progress import show_progress
from ._signals import EXIT, stop_on_signals

DIVERGED = 3


class Call(NamedTuple):
    """The flags of a call: those that every recipe has, and the recipe's own."""

    seed: int
    out: Path | None
    minutes: float | None
    arguments: dict[str, Any]


def train(args: list[str]) -> int:
    """Meta-trains a recipe, measures it, and returns the exit code."""
    name, call = read("train", _call, args)
    _folder.check_out(call.out)
    experiment = RECIPES[name](**call.arguments)
    folder = _folder.create(name, call.out)
    _folder.write_config(folder, _folder.Config(name, call.arguments, call.seed), experiment.num_steps)
    print(f"{name}: {experiment.num_steps} steps of {experiment.tasks_per_step} tasks, into {folder}", flush=True)
    return run(experiment, folder, call.seed, call.minutes)


def _call(*, seed: int = 0, out: Path | None = None, minutes: float | None = None, **arguments: Any) -> Call:
    """What every recipe's training has.

    Args:
      seed: of everything random: parameters, tasks, and what happens within them.
      out: run folder, new or empty; by default the next of runs/<recipe>-<n>.
      minutes: end training after so many, if it has not ended by then; measuring comes on top.
    """
    return Call(seed, out, minutes, arguments)


def run(experiment: Experiment, folder: Path, seed: int, minutes: float | None = None) -> int:
    """Trains, saves and measures; what was reached is kept, however it ends."""
    with stop_on_signals() as stop:
        home = jax.devices()[0]  # what is measured lies there from first to last, so that it compiles once
        state = init(experiment.learner, experiment.train, experiment.optimizer, key=jax.random.key(seed))
        state = jax.device_put(state, home)
        initial, rows, status, message = state.meta, [], "finished", ""
        try:
            with show_progress(experiment.num_steps) as progress:
                ends = [lambda _: stop.is_set(), _time_limit(minutes)]
                state = _fit(experiment, state, [_recorder(folder, rows), progress, *ends])
        except Diverged as error:
            state, status, message = error.state, "diverged", str(error)
        state = jax.device_put(state, home)
        checkpoint.save(folder / _folder.PARAMS, state.meta)
        if rows:
            plots.learning_curve(rows, folder / "learning_curve.png", title=f"Training, seed {seed}")
        results: Rows = []
        if status == "finished" and not stop.is_set():
            results = _measure(experiment, state, initial, stop.is_set)
            draw_tasks(folder, experiment, state.meta)
        status = "interrupted" if stop.is_set() else status
        _write_results(folder, experiment, state, status, message, results)
    return _finish(folder, experiment, status, message, results, int(state.step))


def _fit(experiment: Experiment, state: MetaState, callbacks: list[Callable]) -> MetaState:
    e = experiment
    options = {
        "num_steps": e.num_steps,
        "tasks_per_step": e.tasks_per_step,
        "chunk": e.chunk_on(jax.default_backend()),
        "mesh": _mesh(e),
        "log_every": e.log_every,
        "callbacks": callbacks,
    }
    if e.eval_every is not None:
        options |= {"eval_sampler": e.val, "eval_every": e.eval_every, "eval_tasks": e.eval_tasks}
    return fit(e.learner, e.train, e.optimizer, state, **options)[0]


def _mesh(experiment: Experiment) -> jax.sharding.Mesh | None:
    """As many devices as share a step's tasks evenly, where the recipe differentiates few of them at a time."""
    size = math.gcd(experiment.tasks_per_step, len(jax.devices()))
    if size == 1 or experiment.chunk_on(jax.default_backend()) is None:
        return None
    return jax.make_mesh((size,), ("task",))


def _time_limit(minutes: float | None) -> Callable[[Progress], bool]:
    begin = time.perf_counter()
    return lambda _: minutes is not None and time.perf_counter() - begin >= 60 * minutes


def _recorder(folder: Path, rows: Rows) -> Callable[[Progress], None]:
    """Writes a row per interval: what is the same in every run of a seed, and apart from it what is not."""
    begin = time.perf_counter()

    def record(at: Progress) -> None:
        row = {"step": at.step, **{name: float(value) for name, value in sorted(at.metrics.items())}}
        for name, estimate in sorted((at.estimates or {}).items()):
            row |= {f"eval/{name}": estimate.mean, f"eval/{name}/ci95": estimate.ci95}
        rows.append(row)
        _folder.append(folder / _folder.METRICS, row)
        seconds = {"seconds": round(time.perf_counter() - begin, 3), "tasks_per_second": round(at.tasks_per_second, 2)}
        _folder.append(folder / _folder.TIMING, {"step": at.step, **seconds})

    return record


def _measure(experiment: Experiment, state: MetaState, initial: Any, stopped: Callable[[], bool]) -> Rows:
    from rich.console import Console

    with Console().status("measuring on held-out tasks") as status:
        say = lambda name: status.update(f"measuring on held-out tasks: {name}")
        return measure(
            experiment, state.meta, initial, experiment.test, experiment.test_tasks, say=say, stopped=stopped
        )


def _write_results(
    folder: Path, experiment: Experiment, state: MetaState, status: str, message: str, rows: Rows
) -> None:
    about = {"format": _folder.FORMAT, "status": status, "step": int(state.step), "num_steps": experiment.num_steps}
    about |= {"message": message} if message else {}
    _folder.write_json(folder / _folder.RESULTS, {**about, "rows": rows, "published": experiment.published})


def _finish(folder: Path, experiment: Experiment, status: str, message: str, rows: Rows, step: int) -> int:
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if rows:
        console.print(table(rows, experiment.published))
    if status == "finished":
        console.print(f"run folder: {folder}   (again, on other tasks: jaxmeta evaluate {folder})", soft_wrap=True)
        return 0
    if message:
        console.print(message, soft_wrap=True)
    console.print(f"{status} at step {step} of {experiment.num_steps}; what was reached is in {folder}", soft_wrap=True)
    return EXIT if status == "interrupted" else DIVERGED
