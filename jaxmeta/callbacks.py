"""What `fit` tells its callbacks, and some of them: early stopping, and logs for TensorBoard and Weights & Biases."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .types import Estimate, MetaState, Variables


class Progress(NamedTuple):
    """What a callback sees after every dispatch.

    Attributes:
      step: meta-steps done.
      state: the state reached; copy what should outlive the call, its buffers are reused.
      num_steps: where training ends.
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


@dataclass
class EarlyStopping:
    """A callback that ends training when a validation metric has stopped improving, and keeps the best `meta`.

    Attributes:
      metric: a name among the validation's estimates.
      patience: validations without improvement before it stops.
      mode: whether larger (``"max"``) or smaller (``"min"``) is better.
      best_meta: the meta-parameters of the best validation; `best_step` and `best` say when and how good.

    Example:
      >>> stopping = EarlyStopping("accuracy", patience=5)
      >>> # fit(..., eval_sampler=val, eval_every=500, callbacks=[stopping]); use stopping.best_meta
    """

    metric: str
    patience: int = 10
    mode: Literal["max", "min"] = "max"
    best: float | None = field(default=None, init=False)
    best_step: int | None = field(default=None, init=False)
    best_meta: Variables | None = field(default=None, init=False)
    _waited: int = field(default=0, init=False)

    def __call__(self, progress: Progress) -> bool:
        if progress.estimates is None:
            return False
        if self.metric not in progress.estimates:
            raise ValueError(
                f"`metric` {self.metric!r} is not among the validation's metrics {sorted(progress.estimates)}."
            )
        value = progress.estimates[self.metric].mean
        if self.best is None or (value > self.best if self.mode == "max" else value < self.best):
            self.best, self.best_step, self._waited = value, progress.step, 0
            self.best_meta = jax.tree.map(jnp.copy, progress.state.meta)
        else:
            self._waited += 1
        return self._waited >= self.patience


@contextmanager
def tensorboard(folder: str | os.PathLike, *, first_step: int | None = None) -> Iterator[Callback]:
    """A callback that writes every metric as a scalar for TensorBoard: ``tensorboard --logdir folder``.

    Validation's estimates are ``eval/NAME`` and their intervals ``eval/NAME/ci95``; of several seeds the mean is
    written. A thread writes the file, a second behind training; it is complete at the end of the ``with`` block.

    Args:
      folder: where the event file goes.
      first_step: of a run that goes on, the step it goes on from; TensorBoard then hides what came later.

    Raises:
      ImportError: if tensorboardX is not installed.

    Example:
      >>> # with jm.callbacks.tensorboard("logs") as log:
      >>> #     state, history = jm.fit(..., callbacks=[log])
    """
    with need("tensorboard").SummaryWriter(str(folder), purge_step=first_step, flush_secs=1) as writer:

        def log(progress: Progress) -> None:
            for name, value in scalars(progress).items():
                writer.add_scalar(name, value, progress.step)

        yield log


@contextmanager
def wandb(
    *, project: str = "jaxmeta", name: str | None = None, config: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[Callback]:
    """A callback that sends every metric to Weights & Biases, under the same names as `tensorboard`.

    Args:
      project: the project of the run.
      name: the run's name; Weights & Biases invents one by default.
      config: what the run was asked to do, shown beside it.
      **options: further ones of ``wandb.init``, for instance ``mode="offline"`` or ``dir="logs"``.

    Raises:
      ImportError: if wandb is not installed.
      ValueError: if it cannot start, for instance because nobody is logged in.

    Example:
      >>> # with jm.callbacks.wandb(project="omniglot", mode="offline") as log:
      >>> #     state, history = jm.fit(..., callbacks=[log])
    """
    package = need("wandb")
    try:
        run = package.init(project=project, name=name, config=dict(config or {}), **options)
    except package.errors.Error as error:
        raise ValueError(
            f"Weights & Biases cannot start ({error}). Log in with `wandb login`, or set WANDB_MODE=offline."
        ) from error
    with run:  # which ends it, as failed where there was an exception
        yield lambda progress: run.log(scalars(progress), step=progress.step, commit=True)


def need(log: Literal["tensorboard", "wandb"]) -> Any:
    """The package that writes a log.

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
    """Everything that changes during training as one flat dict, of several seeds the mean.

    Example:
      >>> at = Progress(3, None, 9, {"loss": np.array([1.0, 3.0])}, {"mse": Estimate(0.5, 0.1, 9, False)}, 20.0)
      >>> scalars(at)
      {'loss': 2.0, 'eval/mse': 0.5, 'eval/mse/ci95': 0.1, 'tasks_per_second': 20.0}
    """
    found = {name: float(np.mean(value)) for name, value in sorted(progress.metrics.items())}
    for name, estimate in sorted((progress.estimates or {}).items()):
        found |= {f"eval/{name}": estimate.mean, f"eval/{name}/ci95": estimate.ci95}
    return found | {"tasks_per_second": progress.tasks_per_second}
