"""What `fit` tells its callbacks, and one of them."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

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
