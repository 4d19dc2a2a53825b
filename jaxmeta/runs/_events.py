"""The events that a run reports to its ``progress`` callback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..callbacks import Progress
from ._measure import Measurement


class Starting(NamedTuple):
    """Training is about to start, or to continue.

    Attributes:
      name: the recipe's name, or that of the folder.
      folder: the run folder.
      step: meta-steps made before; 0 for a new run.
      num_steps: the meta-step at which training ends.
      tasks_per_step: tasks in a meta-batch.
      note: a remark about the data, or ``""``.
    """

    name: str
    folder: Path
    step: int
    num_steps: int
    tasks_per_step: int
    note: str


class Phase(NamedTuple):
    """Training enters a phase, in words: ``"compiling"``, ``"validating on 200 tasks"``."""

    words: str


class Measuring(NamedTuple):
    """A learner is about to be measured on ``num_tasks`` held-out tasks."""

    name: str
    num_tasks: int


class Measured(NamedTuple):
    """All learners are measured; ``published`` is the paper's figure, in words."""

    measurements: tuple[Measurement, ...]
    published: str


class Drawing(NamedTuple):
    """Picture ``number`` of ``count`` is about to be drawn."""

    file: str
    number: int
    count: int


class Wrote(NamedTuple):
    """A file that a user may want to open is complete."""

    path: Path


class Stopping(NamedTuple):
    """A signal asked the run to stop; ``signals`` counts them. Reported from another thread than the rest."""

    signals: int


Event = Starting | Phase | Progress | Measuring | Measured | Drawing | Wrote | Stopping
Report = Callable[[Event], Any]


def ignore(event: Event) -> None:
    """Report nothing."""
