"""One line that shows how far training has come: in `fit`, where a person looks, and on the command line."""

import shutil
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import jax
import numpy as np

from .callbacks import Progress

Shown = Literal["auto"] | bool | Callable[[str], object]
WIDTH = 20  # of the bar, in letters


class Line:
    """A line that is rewritten: a bar, the step, the metrics with their names, the speed, and the time left.

    Args:
      num_steps: the meta-step at which training ends.
      file: a terminal, or what behaves as one: ``\\r`` goes back to the beginning of the line. Standard error by
        default.

    Example:
      >>> line = Line(100, sys.stdout)
      >>> line.say("compiling"); line.close()  # doctest: +SKIP
      ────────────────────  compiling ...
    """

    def __init__(self, num_steps: int, file: TextIO | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._num_steps, self._timer = num_steps, Timer()
        self._before, self._length = _bar(0.0), 0

    def say(self, phase: str) -> None:
        """Show what is done now, such as ``"compiling"``."""
        self._write(f"{self._before}  {phase} ...")

    def show(self, at: Progress) -> None:
        """Show the progress that a callback is given."""
        self._before = f"{_bar(at.step / self._num_steps)}  step {at.step:,} of {self._num_steps:,}"
        self._write("  ".join(filter(None, [self._before, self._timer.left(at), news(at)])))

    def close(self) -> None:
        """End the line."""
        if self._length:
            self._file.write("\n")
            self._file.flush()
            self._length = 0

    def _write(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]  # a line that is broken could not be rewritten
        encoding = getattr(self._file, "encoding", None) or "utf-8"
        text = text.encode(encoding, "replace").decode(encoding)
        self._file.write(f"\r{text}{' ' * (self._length - len(text))}")
        self._file.flush()
        self._length = len(text)


class Timer:
    """An estimate of the time that is left, from the steps after the first interval, which compiled as well."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def left(self, at: Progress) -> str:
        """Return the time left in words, or ``""`` after the first interval."""
        now = time.perf_counter()
        if self._first is None:
            self._first = at.step, now
            return ""
        step, begin = self._first
        seconds = round((now - begin) / (at.step - step) * (at.num_steps - at.step))
        hours, minutes = divmod(seconds // 60, 60)
        return f"{hours} h {minutes} min left" if hours else f"{minutes} min left" if minutes else f"{seconds} s left"


@contextmanager
def reporting(
    progress: Shown, num_steps: int
) -> Generator[tuple[Callable[[str], object], Callable[[Progress], object]]]:
    """Yield two functions: one that is given every phase in words, and one that is given every `Progress`.

    Raises:
      ValueError: if ``progress`` is none of the choices of `jaxmeta.fit`.
    """
    if not callable(progress) and progress not in ("auto", True, False):
        raise ValueError(f"`progress` must be 'auto', True, False or a function of a text, got {progress!r}.")
    if callable(progress):
        yield progress, _ignore
    elif progress is True or (progress == "auto" and jax.process_index() == 0 and is_watched()):
        line = Line(num_steps)
        try:
            yield line.say, line.show
        finally:
            line.close()
    else:
        yield _ignore, _ignore


def is_watched() -> bool:
    """Return whether a person reads the standard error: it is a terminal, or the cell of a notebook."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return bool(sys.stderr.isatty()) or getattr(shell, "kernel", None) is not None


def news(at: Progress, *, rate: bool = True) -> str:
    """Describe loss, metrics, speed and memory, each with its name; of several seeds the mean.

    Example:
      >>> news(Progress(3, None, 9, {"loss": np.array([1.0, 3.0]), "accuracy": 0.5}, None, 20.0)).split("  memory")[0]
      'loss 2.000  accuracy 50.0 %  speed 20 tasks/s'
    """
    mean = {name: float(np.mean(at.metrics[name])) for name in ("loss", "accuracy", "mse") if name in at.metrics}
    if "mse" in mean:
        mean.pop("loss", None)  # it is the same
    words = [f"{name} {in_units(name, value)}" for name, value in mean.items()]
    words += [f"validation {name} {in_units(name, found.mean)}" for name, found in (at.estimates or {}).items()]
    speed = f"speed {at.tasks_per_second:,.0f} tasks/s" if rate else ""
    return "  ".join(filter(None, [*words, speed, memory()]))


def in_units(metric: str, value: Any) -> str:
    """Return a value in the unit of its metric.

    Example:
      >>> in_units("accuracy", 0.5), in_units("mse", 0.5)
      ('50.0 %', '0.500')
    """
    return f"{100 * value:.1f} %" if metric == "accuracy" else f"{value:.3f}"


def memory() -> str:
    """Describe the most memory so far: of a device, where it reports that, else of this process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return f"memory {stats['peak_bytes_in_use'] / 2**30:.1f} GiB on the device"
    try:
        import resource
    except ImportError:  # on Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 2**10
    return f"memory {unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30:.1f} GiB"


def _bar(share: float) -> str:
    done = round(WIDTH * min(share, 1.0))
    return "━" * done + "─" * (WIDTH - done)


def _ignore(news: object) -> None:
    """Show nothing."""
