"""Train an experiment into a run folder, or resume a run: fit, save, measure, draw, report."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax

from .. import checkpoint
from ..experiment import Experiment
from ..fit import Diverged, fit
from ..step import init
from ..storage import as_path
from ..types import MetaState
from . import _folder
from ._callbacks import Log, loggers, recorder, stopper, time_limit
from ._compute import Compute, check_number
from ._config import PARAMS, Config, read_config, write_config
from ._end import Result, Status, write_end
from ._events import Event, Measuring, Phase, Report, Starting, Stopping, ignore
from ._journal import Journal, journal
from ._measure import divergence, measure
from ._owner import Owner, owned
from ._processes import by_first, is_first, local, lost
from ._signals import stop_on_signals
from ._trained import build

HERE = Compute()


class _Run(NamedTuple):
    experiment: Experiment
    folder: Path
    config: Config
    compute: Compute
    minutes: float | None
    log: tuple[Log, ...]
    report: Report
    owner: Owner | None  # in process 0
    start: MetaState


def train(
    experiment: Experiment,
    folder: str | PathLike[str],
    *,
    seed: int = 0,
    compute: Compute = HERE,
    checkpoint_every: int = 500,
    minutes: float | None = None,
    log: Sequence[Log] = (),
    progress: Report | None = None,
) -> Result:
    """Train an experiment, measure it on held-out tasks, and write all of it into a run folder.

    The first Ctrl-C or SIGTERM ends training after the steps in progress; `resume` continues it. A second one raises
    KeyboardInterrupt. Nothing is printed.

    Args:
      experiment: the learner, its tasks and the protocol, from a recipe or your own.
      folder: a new or empty folder; ``gs://...`` is fine.
      seed: of everything random: parameters, tasks, and randomness within them.
      compute: devices, memory, and the gradients that the outer optimizer sees.
      checkpoint_every: steps between checkpoints, from which `resume` continues.
      minutes: end training after so many, if it has not ended by then; measuring comes on top.
      log: ``"tensorboard"``, ``"wandb"`` or both: where metrics go beside ``metrics.jsonl``.
      progress: called with each `Event` of the run: `Starting`, `Progress` after every ``log_every`` steps,
        `Measuring`, `Measured`, `Drawing`, `Wrote`, `Stopping`. Of several processes, only the first one calls it.

    Returns:
      A `Result`: status, meta-parameters, measurements.

    Raises:
      ValueError: for an argument out of range, a folder that holds something, or one in use by another process.
      ImportError: if a package for ``log`` is missing.
      ProcessLost: if another process of the run ends.

    Example:
      >>> import tempfile, jaxmeta as jm
      >>> e = jm.recipes.quadratics(rule="schedule", num_inner_steps=2, num_dims=2, num_steps=4, test_tasks=4)
      >>> result = train(e, tempfile.mkdtemp())
      >>> result.status, result.step, result.measurements[0].name
      ('finished', 4, 'after adaptation')
    """
    path = as_path(folder)
    check_number("seed", seed, least=0, most=2**32 - 1)
    check_number("checkpoint_every", checkpoint_every, least=1)
    _check(experiment, compute, minutes, log)
    task = experiment.prepare()
    start = _start(experiment, compute, seed)
    config = Config(experiment.recipe, dict(experiment.arguments), seed, checkpoint_every, compute.kept(), task=task)

    def write() -> None:
        _folder.check_new(path)
        write_config(path, config, experiment.num_steps)

    by_first(lambda: _folder.make(path))
    with _owned(path) as owner:
        by_first(write)
        return _run(_Run(experiment, path, config, compute, minutes, tuple(log), progress or ignore, owner, start))


def resume(
    folder: str | PathLike[str],
    experiment: Experiment | None = None,
    *,
    data_dir: str | None = None,
    compute: Compute = HERE,
    minutes: float | None = None,
    log: Sequence[Log] = (),
    progress: Report | None = None,
) -> Result:
    """Continue a run from its newest checkpoint; it ends as if it had never been cut short.

    A run that was killed while it was measured or drawn is measured and drawn again.

    Args:
      folder: the run folder.
      experiment: for runs of an experiment of your own; by default the run's recipe builds it again.
      data_dir: the data's folder, if it has moved.
      compute: devices and memory; the fields that decide the numbers are taken from the run.
      minutes, log, progress: as for `train`.

    Raises:
      ValueError: if it is not a run folder, has finished, is in use by another process, or needs ``experiment``.

    Example:
      >>> # result = jm.runs.resume("runs/glyphs_maml-1")
    """
    path = as_path(folder)
    if experiment is None:
        experiment, config = build(path, data_dir)
    else:
        config = read_config(path)
    compute = compute.with_kept(config.compute)
    _check(experiment, compute, minutes, log)
    start = _start(experiment, compute, config.seed)
    with _owned(path) as owner:
        if _folder.is_complete(path):
            raise ValueError(f"`folder`: the run in {str(path)!r} has finished. To train anew, choose another folder.")
        return _run(_Run(experiment, path, config, compute, minutes, tuple(log), progress or ignore, owner, start))


def _check(experiment: Experiment, compute: Compute, minutes: float | None, log: Sequence[Log]) -> None:
    from ..callbacks import need

    for name in ("num_steps", "tasks_per_step", "log_every", "eval_tasks", "test_tasks"):
        check_number(name, getattr(experiment, name), least=1)
    for steps in experiment.test_steps:
        check_number("test_steps", steps, least=0)
    compute.check(experiment)
    if minutes is not None:
        check_number("minutes", minutes, least=0)
    for one in log:
        need(one)


def _start(experiment: Experiment, compute: Compute, seed: int) -> MetaState:
    """Return the state before training. What cannot be made is refused before anything is written."""
    e = compute.applied(experiment)
    return init(e.learner, e.train, e.optimizer, key=jax.random.key(seed))


@contextmanager
def _owned(folder: Path) -> Iterator[Owner | None]:
    """Hold the folder in process 0; the other processes rely on it."""
    with ExitStack() as held:
        yield by_first(lambda: held.enter_context(owned(folder)))


def _run(run: _Run) -> Result:
    keeper = checkpoint.keep(run.folder / _folder.CHECKPOINTS, every=run.config.checkpoint_every)
    alone = jax.process_count() == 1
    try:
        result = _train(run, keeper)
    except BaseException as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and not alone:
            raise lost(error) from error
        if alone:  # else it might wait for a lost process
            with suppress(OSError):
                keeper.close()  # a checkpoint that is being written becomes whole
        raise
    keeper.close()
    return result


def _train(run: _Run, keeper: checkpoint.Keeper) -> Result:
    e, folder = run.compute.applied(run.experiment), run.folder
    mesh, tell = run.compute.mesh_of(e), _teller(run)
    begin = keeper.restore(run.start, mesh=mesh, shard=run.compute.shard) or run.start
    step = int(begin.step)
    rows, timing = (journal(folder / name, step) for name in (_folder.METRICS, _folder.TIMING))
    note = e.note() if is_first() else ""
    tell(Starting(run.config.recipe or folder.name, folder, step, e.num_steps, e.tasks_per_step, note))
    stopping = lambda count: tell(Stopping(count))
    with stop_on_signals(stopping, forward=jax.process_count() > 1) as stop:
        with loggers(run.log, folder, run.config, step) as logs:
            calls = [recorder(rows, timing, keeper, run.owner), *logs, tell]
            ends = [stopper(stop, step), time_limit(run.minutes)]
            state, message = _fit(run, e, begin, mesh, [*calls, *ends, keeper], tell)
        message = message or _all_skipped(rows)
        status: Status = "diverged" if message else "interrupted" if stop.is_set() else "finished"
        _flush(rows, timing)
        keeper.save(state)
        meta, measurements = local(state.meta, mesh), []
        checkpoint.save(folder / PARAMS, meta)
        if status == "finished":
            alone = jax.process_count() == 1  # several processes do the same, so none stops alone
            measurements = measure(
                e, meta, initial=run.start.meta, mesh=mesh,
                progress=lambda name: tell(Measuring(name, e.test_tasks)),
                stopped=stop.is_set if alone else lambda: False,
            )  # fmt: skip
            message = divergence(e, measurements)
            status = "interrupted" if stop.is_set() else "diverged" if message else status
        result = Result(status, int(state.step), meta, measurements, folder, message)
        if is_first():
            title = f"Training, seed {run.config.seed}"
            result = write_end(e, result, rows, title, tell=tell, stopped=stop.is_set)
    return result


def _teller(run: _Run) -> Report:
    """Report from process 0 alone. What the user's callback returns must not end training in one process."""

    def tell(event: Event) -> None:
        if is_first():
            run.report(event)

    return tell


def _fit(
    run: _Run, e: Experiment, state: MetaState, mesh: Any, callbacks: Sequence[Callable[..., Any]], tell: Report
) -> tuple[MetaState, str]:
    """Return the state that was reached, and why training diverged, or ``""``."""
    try:
        return fit(
            e.learner, e.train, e.optimizer, state,
            num_steps=e.num_steps, tasks_per_step=e.tasks_per_step, log_every=e.log_every, callbacks=callbacks,
            eval_sampler=None if e.eval_every is None else e.val, eval_every=e.eval_every, eval_tasks=e.eval_tasks,
            step=e.step, chunk=e.chunk, mesh=mesh, shard=run.compute.shard,
            guard=run.compute.guard if e.step is None else None,
            profile=run.compute.profile_in(run.folder), progress=lambda words: tell(Phase(words)),
        )[0], ""  # fmt: skip
    except Diverged as error:
        return error.state, str(error)


def _all_skipped(rows: Journal) -> str:
    """Return a sentence if no update of the whole run was finite: `fit` raises only after many in a row."""
    if not rows.rows or not all(row.get("skipped") == 1 for row in rows.rows):
        return ""
    return (
        f"All {rows.rows[-1]['step']} updates were left out, because a gradient or metric was NaN or infinite. Likely "
        "causes: an inner learning rate that is too large, or NaN in the data."
    )


def _flush(*journals: Journal) -> None:
    for one in journals:
        one.flush()
