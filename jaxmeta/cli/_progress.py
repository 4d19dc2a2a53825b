"""Show a run while it works: one line that is rewritten on a terminal, plain lines elsewhere."""

import os
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from jaxmeta.callbacks import Progress
from jaxmeta.progress import Line, Timer, news
from jaxmeta.runs import Drawing, Event, Measured, Measuring, Phase, Starting, Stopping
from jaxmeta.runs._records import clean

from ._results import console, table

LINES = 20  # of training, where there is no terminal
INTERRUPTED = 130  # the exit code of a run that a signal stopped


class Display:
    """The ``progress`` callback of a run.

    Args:
      stderr: write to stderr, because stdout is for JSON alone.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        self._console = console(stderr=stderr)
        self._live = ExitStack()  # the line of training, or a status; one at a time
        self._training: Line | _Lines | None = None
        self._status: Any = None

    def __enter__(self) -> "Display":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.close()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Starting():
                self._start(event)
            case Progress() if self._training is not None:
                self._training.show(event)
            case Phase(words) if self._training is not None:
                self._training.say(words)
            case Measuring(name, num_tasks):
                self._say("measuring on held-out tasks", f"measuring on {num_tasks:,} held-out tasks: {name}")
            case Measured(measurements, published):
                self._end()
                self._console.print(table(measurements, published))
            case Drawing(file, number, count):
                self._say("drawing", f"drawing {number} of {count}: {file}")
            case Stopping(signals):
                _stop(signals)
            case _:
                pass

    def _start(self, event: Starting) -> None:
        tasks = f"{event.tasks_per_step} task{'s' * (event.tasks_per_step != 1)}"
        text = f"{clean(event.name)}: {event.num_steps} steps of {tasks}, into {event.folder}"
        print(f"{text}, from step {event.step}" if event.step else text, flush=True)
        if event.note:
            print(clean(event.note), flush=True)
        if event.step < event.num_steps:
            self._training = Line(event.num_steps, sys.stdout) if sys.stdout.isatty() else _Lines(event)
            self._live.callback(self._training.close)

    def _say(self, kind: str, text: str) -> None:
        """Show what is being done: a status on a terminal, a line elsewhere."""
        if not self._console.is_terminal:
            self._console.print(text, soft_wrap=True)
            return
        if self._status is None:
            self._end()
            self._status = self._live.enter_context(self._console.status(kind))
        self._status.update(text)

    def _end(self) -> None:
        self._live.close()
        self._training = self._status = None


class _Lines:
    """Twenty lines in place of one that is rewritten, where there is no terminal."""

    def __init__(self, event: Starting) -> None:
        print(f"training for {event.num_steps} steps; compiling first ...", flush=True)
        self._shown, self._timer = event.step * LINES // event.num_steps, Timer()

    def say(self, phase: str) -> None:
        """Leave phases out."""

    def show(self, at: Progress) -> None:
        due, left = at.step * LINES // at.num_steps, self._timer.left(at)
        if due > self._shown or at.estimates:
            self._shown = due
            print(
                "  ".join(filter(None, [f"step {at.step}/{at.num_steps}", news(at, rate=bool(left)), left])), flush=True
            )

    def close(self) -> None:
        """Lines are whole already."""


def _stop(signals: int) -> None:
    """Say that training will stop; end the process at the second signal, even while a compiled step runs."""
    if signals == 1:
        os.write(2, b"\njaxmeta: stopping after the steps in progress; once more to stop at once.\n")
        return
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # a status hides the cursor
    os._exit(INTERRUPTED)
