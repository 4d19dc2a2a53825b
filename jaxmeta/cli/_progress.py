"""Show a run while it works: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from jaxmeta.callbacks import Progress
from jaxmeta.runs import Drawing, Event, Measured, Measuring, Starting, Stopping
from jaxmeta.runs._records import clean, show

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
        self._live = ExitStack()  # the bar, or a status line; one at a time
        self._training: _Bar | _Lines | None = None
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
            case Progress():
                if self._training is not None:
                    self._training.show(event)
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
            self._training = _Bar(event, self._live) if sys.stdout.isatty() else _Lines(event)

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


class _Bar:
    def __init__(self, event: Starting, live: ExitStack) -> None:
        from rich import progress as rich

        columns = (
            rich.TextColumn("[bold]{task.description}"),
            rich.BarColumn(bar_width=24),
            rich.TextColumn("step {task.completed:,} of {task.total:,}"),
            rich.TextColumn("{task.fields[news]}"),
            rich.TimeRemainingColumn(),
            rich.TextColumn("left"),
        )
        self._bar = live.enter_context(rich.Progress(*columns))
        self._task = self._bar.add_task(
            "compiling", start=False, total=event.num_steps, completed=event.step, news="a minute or so, once"
        )

    def show(self, at: Progress) -> None:
        self._bar.start_task(self._task)  # its clock leaves compilation out
        self._bar.update(self._task, completed=at.step, description="training", news=news(at))


class _Lines:
    def __init__(self, event: Starting) -> None:
        print(f"training for {event.num_steps} steps; compiling first ...", flush=True)
        self._shown = event.step * LINES // event.num_steps
        self._first: tuple[int, float] | None = None

    def show(self, at: Progress) -> None:
        due, now, left = at.step * LINES // at.num_steps, time.perf_counter(), ""
        if self._first is None:
            self._first = at.step, now  # the first interval compiled as well, and says nothing about speed
        else:
            step, begin = self._first
            left = f"  {(now - begin) / (at.step - step) * (at.num_steps - at.step):.0f} s left"
        if due > self._shown or at.estimates:
            self._shown = due
            print(f"step {at.step}/{at.num_steps}  {news(at, rate=bool(left))}{left}", flush=True)


def news(at: Progress, *, rate: bool = True) -> str:
    """Describe loss, metrics, speed and memory, each with its name."""
    words = [f"loss {float(at.metrics['loss']):.3f}"] if "loss" in at.metrics else []
    if "accuracy" in at.metrics:
        words.append(f"accuracy {100 * float(at.metrics['accuracy']):.1f} %")
    elif "mse" in at.metrics:
        words = [f"mse {float(at.metrics['mse']):.3f}"]
    for name, estimate in (at.estimates or {}).items():
        words.append(f"validation {name} {show(name, estimate.mean)}")
    speed = f"speed {at.tasks_per_second:,.0f} tasks/s" if rate else ""
    return "  ".join(filter(None, [*words, speed, memory()]))


def memory() -> str:
    """Describe the most memory so far: of a device, where it reports that, else of this process."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return f"memory {stats['peak_bytes_in_use'] / 2**30:.1f} GiB on the device"
    try:
        import resource
    except ImportError:  # on Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 2**10
    return f"memory {unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30:.1f} GiB"


def _stop(signals: int) -> None:
    """Say that training will stop; end the process at the second signal, even while a compiled step runs."""
    if signals == 1:
        os.write(2, b"\njaxmeta: stopping after the steps in progress; once more to stop at once.\n")
        return
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # the progress bar hides the cursor
    os._exit(INTERRUPTED)
