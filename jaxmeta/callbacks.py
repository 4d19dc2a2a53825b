"""Callbacks of `fit`: the progress they are given, early stopping, and logs for TensorBoard and Weights & Biases."""

import atexit
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .types import Estimate, MetaState, Variables


class Progress(NamedTuple):
    """The argument of every callback, after each dispatch.

    Attributes:
      step: meta-steps done.
      state: the state reached; copy what should outlive the call, its buffers are reused.
      num_steps: the step at which training ends.
      metrics: each metric's mean over the steps since the last call (``[S]`` for several seeds).
      estimates: the validation's estimates, where one has just run.
      tasks_per_second: rate since the last call, validation left out; the first one includes compilation.
    """

    step: int
    state: MetaState
    num_steps: int
    metrics: dict[str, Any]
    estimates: dict[str, Estimate] | None
    tasks_per_second: float


Callback = Callable[[Progress], Any]
_VALIDATIONS = "validations.json"


def call_all(callbacks: Sequence[Callback], progress: Progress) -> list[str]:
    """Call every callback, and return the names of those that answered True, which ends training.

    True is a boolean of Python, NumPy or JAX. Any other answer is ignored: it is returned by accident.

    Example:
      >>> def stop(progress): return np.bool_(True)
      >>> call_all([stop, lambda progress: "text"], Progress(3, None, 9, {}, None, 20.0))
      ['stop']
    """

    def ends(answer: Any) -> bool:
        is_array = isinstance(answer, np.bool_ | np.ndarray | jax.Array)
        return answer is True or (is_array and answer.dtype == bool and answer.ndim == 0 and bool(answer))

    enders = [callback for callback in callbacks if ends(callback(progress))]
    return [getattr(callback, "__name__", type(callback).__name__) for callback in enders]


@dataclass
class EarlyStopping:
    """End training when a validation metric has stopped improving, and keep the best `meta`.

    Attributes:
      metric: a name among the validation's estimates.
      patience: validations without improvement before training ends.
      mode: whether larger (``"max"``) or smaller (``"min"``) is better.
      folder: where the validations and the best meta-parameters are kept, so that a script that is started again goes
        on: call `restore` before `fit`. None keeps nothing.
      best_meta: the meta-parameters of the best validation; `best_step` and `best` say when and how good. A value
        that is NaN is never the best.

    Raises:
      ValueError: for another ``mode``, or a ``patience`` below 1.

    Example:
      >>> stopping = EarlyStopping("accuracy", patience=5)
      >>> # fit(..., eval_sampler=val, eval_every=500, callbacks=[stopping]); use stopping.best_meta
    """

    metric: str
    patience: int = 10
    mode: Literal["max", "min"] = "max"
    folder: str | os.PathLike[str] | None = None
    best: float | None = field(default=None, init=False)
    best_step: int | None = field(default=None, init=False)
    best_meta: Variables | None = field(default=None, init=False)
    _waited: int = field(default=0, init=False)
    _seen: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]], init=False)

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise ValueError(f'`mode` is {self.mode!r}: choose "max" where larger is better, or "min".')
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 1:
            raise ValueError(f"`patience` must be a whole number of validations, 1 or more, got {self.patience!r}.")

    def restore(self, state: MetaState) -> None:
        """Read what an earlier process has kept in ``folder``, up to the step of ``state``; without it do nothing.

        Where the best meta-parameters that were kept are of a later step, `best_meta` stays None until training comes
        to a better validation again: that step, at the latest.

        Args:
          state: the state to go on from, such as ``keeper.restore(state) or state``.

        Raises:
          ValueError: naming the file, if it is damaged.

        Example:
          >>> # state = keeper.restore(state) or state; stopping.restore(state); fit(..., state, callbacks=[stopping])
        """
        from . import checkpoint
        from .storage import as_path, read_json

        if self.folder is None or not (path := as_path(self.folder) / _VALIDATIONS).exists():
            return
        for step, value in _validations(read_json(path), str(path)):
            if step <= int(np.max(state.step)):
                self._add(step, math.nan if value is None else value)
        kept = as_path(self.folder) / f"best-{self.best_step}"
        if kept.exists():
            self.best_meta = checkpoint.restore(kept, state.meta)

    def __call__(self, progress: Progress) -> bool:
        if progress.estimates is None:
            return False
        if self.metric not in progress.estimates:
            raise ValueError(
                f"`metric` {self.metric!r} is not among the validation's metrics {sorted(progress.estimates)}."
            )
        is_best = self._add(progress.step, progress.estimates[self.metric].mean)
        if is_best:
            self.best_meta = jax.tree.map(jnp.copy, progress.state.meta)
        if self.folder is not None:
            self._keep(self.folder, progress.state.meta if is_best else None)
        return self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether the metric has not improved for `patience` validations; `fit` then takes no step."""
        return self._waited >= self.patience

    def _add(self, step: int, value: float) -> bool:
        """Count a validation, and return whether it is the best so far."""
        self._seen.append((step, value))
        is_better = self.best is None or (value > self.best if self.mode == "max" else value < self.best)
        is_best = is_better and not math.isnan(value)  # compared with NaN, nothing would ever be better
        if is_best:
            self.best, self.best_step, self._waited = value, step, 0
        else:
            self._waited += 1
        return is_best

    def _keep(self, place: str | os.PathLike[str], best: Variables | None) -> None:
        """Write the validations so far, after the best meta-parameters if they are new; then remove older ones."""
        from . import checkpoint
        from .storage import as_path, is_remote, write_bytes

        if jax.process_index() != 0:  # the processes have the same
            return
        folder = as_path(place)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"best-{self.best_step}"
        if best is not None:
            checkpoint.save(folder / name, best)
        seen = [(step, value if math.isfinite(value) else None) for step, value in self._seen]
        write_bytes(folder / _VALIDATIONS, json.dumps(seen).encode())
        if best is not None:
            for older in [path for path in folder.iterdir() if path.name.startswith("best-") and path.name != name]:
                older.rmtree() if is_remote(folder) else shutil.rmtree(older, ignore_errors=True)  # type: ignore[attr-defined]


def _validations(content: Any, where: str) -> list[tuple[int, float | None]]:
    """Check what a file holds: pairs of a step and a value.

    Raises:
      ValueError: naming the file.
    """

    def is_pair(row: Any) -> bool:
        is_number = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
        return isinstance(row, list) and len(row) == 2 and type(row[0]) is int and (row[1] is None or is_number(row[1]))

    if not isinstance(content, list) or not all(map(is_pair, content)):
        raise ValueError(
            f"{where!r} holds no validations: pairs of a step and a value. Remove the folder to start anew."
        )
    return [(step, value) for step, value in content]


class Logger:
    """A callback that writes a log, usable with and without ``with``.

    In a ``with`` block the log is complete at its end. Without one it opens at the first call, and closes when Python
    exits.
    """

    def __init__(self, open_log: Callable[[], AbstractContextManager[Callback]]) -> None:
        self._open, self._stack = open_log, ExitStack()
        self._log: Callback | None = None

    def __enter__(self) -> "Logger":
        if self._log is None:  # a call before the block has opened it
            self._log = self._stack.enter_context(self._open())
        return self

    def __exit__(self, *error: Any) -> bool | None:
        self._log = None
        return self._stack.__exit__(*error)

    def __call__(self, progress: Progress) -> None:
        if self._log is None:
            self._log = self._stack.enter_context(self._open())
            atexit.register(self._stack.close)
        self._log(progress)


def tensorboard(folder: str | os.PathLike[str], *, first_step: int | None = None) -> Logger:
    """Return a callback that writes every metric as a scalar for TensorBoard: ``tensorboard --logdir folder``.

    A validation's estimates are ``eval/NAME`` and their intervals ``eval/NAME/ci95``; of several seeds the mean is
    written. A thread writes the file, at most a second behind training.

    Args:
      folder: where the event file goes.
      first_step: of a run that goes on, the step it goes on from; TensorBoard then hides what came later.

    Raises:
      ImportError: if tensorboardX is not installed.

    Example:
      >>> log = tensorboard("logs")
      >>> # state, history = jm.fit(..., callbacks=[log])
    """
    return Logger(lambda: _tensorboard(folder, first_step))


@contextmanager
def _tensorboard(folder: str | os.PathLike[str], first_step: int | None) -> Iterator[Callback]:
    with need("tensorboard").SummaryWriter(str(folder), purge_step=first_step, flush_secs=1) as writer:

        def log(progress: Progress) -> None:
            for name, value in scalars(progress).items():
                writer.add_scalar(name, value, progress.step)

        yield log


def wandb(
    *, project: str = "jaxmeta", name: str | None = None, config: Mapping[str, Any] | None = None, **options: Any
) -> Logger:
    """Return a callback that sends every metric to Weights & Biases, under the same names as `tensorboard`.

    Args:
      project: the project of the run.
      name: the run's name; Weights & Biases invents one by default.
      config: the settings of the run, shown beside it.
      **options: further ones of ``wandb.init``, for instance ``mode="offline"`` or ``dir="logs"``.

    Raises:
      ImportError: if wandb is not installed.
      ValueError: if it cannot start, for instance because nobody is logged in.

    Example:
      >>> log = wandb(project="omniglot", mode="offline")
      >>> # with log: state, history = jm.fit(..., callbacks=[log])
    """
    return Logger(lambda: _wandb(project=project, name=name, config=dict(config or {}), **options))


@contextmanager
def _wandb(**options: Any) -> Iterator[Callback]:
    package = need("wandb")
    try:
        run = package.init(**options)
    except package.errors.Error as error:
        raise ValueError(
            f"Weights & Biases cannot start ({error}). Log in with `wandb login`, or set WANDB_MODE=offline."
        ) from error
    with run:  # which ends it, as failed where there was an exception
        yield lambda progress: run.log(scalars(progress), step=progress.step, commit=True)


def need(log: Literal["tensorboard", "wandb"]) -> Any:
    """Import the package that writes a log.

    Raises:
      ImportError: naming the extra to install.
    """
    try:
        return import_module({"tensorboard": "tensorboardX", "wandb": "wandb"}[log])
    except ImportError as error:
        raise ImportError(
            f"logging to {log} needs a package that is not installed: pip install 'jaxmeta[{log}]' ({error})."
        ) from error


def scalars(progress: Progress) -> dict[str, float]:
    """Return the metrics, estimates and rate of a `Progress` as one flat dict; of several seeds the mean.

    Example:
      >>> at = Progress(3, None, 9, {"loss": np.array([1.0, 3.0])}, {"mse": Estimate(0.5, 0.1, 9, False)}, 20.0)
      >>> scalars(at)
      {'loss': 2.0, 'eval/mse': 0.5, 'eval/mse/ci95': 0.1, 'tasks_per_second': 20.0}
    """
    found = {name: float(np.mean(value)) for name, value in sorted(progress.metrics.items())}
    for name, estimate in sorted((progress.estimates or {}).items()):
        found |= {f"eval/{name}": estimate.mean, f"eval/{name}/ci95": estimate.ci95}
    return found | {"tasks_per_second": progress.tasks_per_second}
