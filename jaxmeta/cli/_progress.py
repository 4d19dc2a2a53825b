"""What training looks like while it runs: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxmeta.callbacks import Progress
from jaxmeta.runs._records import show

LINES = 20  # where there is no terminal, of the whole training


@contextmanager
def show_progress(num_steps: int) -> Iterator[Callable[[Progress], None]]:
    """A callback for `fit`."""
    if sys.stdout.isatty():
        with _bar(num_steps) as callback:
            yield callback
    else:
        print(f"training for {num_steps} steps; compiling first ...", flush=True)
        yield _lines(num_steps)


@contextmanager
def _bar(num_steps: int) -> Iterator[Callable[[Progress], None]]:
    from rich import progress as rich

    columns = (
        rich.TextColumn("[bold]{task.description}"),
        rich.BarColumn(bar_width=24),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[news]}"),
        rich.TimeRemainingColumn(),
        rich.TextColumn("left"),
    )
    with rich.Progress(*columns) as bar:
        task = bar.add_task("compiling", start=False, total=num_steps, news="a minute or so, once")

        def callback(at: Progress) -> None:
            bar.start_task(task)  # its clock leaves compilation out
            bar.update(task, completed=at.step, description="training", news=news(at))

        yield callback


@contextmanager
def show_measuring(num_tasks: int, *, quiet: bool = False, stderr: bool = False) -> Iterator[Callable[[str], None]]:
    """What is told of each learner that is measured: a status on a terminal, a line elsewhere.

    Args:
      num_tasks: on which it is measured.
      quiet: say nothing.
      stderr: where stdout is for JSON alone.
    """
    from rich.console import Console

    console = Console(quiet=quiet, stderr=stderr, markup=False, highlight=False)
    with console.status("measuring on held-out tasks") as status:

        def say(name: str) -> None:
            text = f"measuring on {num_tasks:,} held-out tasks: {name}"
            status.update(text) if console.is_terminal else console.print(text, soft_wrap=True)

        yield say


def _lines(num_steps: int) -> Callable[[Progress], None]:
    shown, first = 0, None

    def callback(at: Progress) -> None:
        nonlocal shown, first
        due, now = at.step * LINES // num_steps, time.perf_counter()
        left = (
            "" if first is None else f"  {(now - first[1]) / (at.step - first[0]) * (num_steps - at.step):.0f} s left"
        )
        first = first or (at.step, now)  # the first interval compiled as well, and says nothing about speed
        if due > shown or at.estimates:
            shown = due
            print(f"step {at.step}/{num_steps}  {news(at, rate=bool(left))}{left}", flush=True)

    return callback


def news(at: Progress, *, rate: bool = True) -> str:
    """Loss, metrics, speed and memory in a few words."""
    words = [f"loss {float(at.metrics['loss']):.3f}"] if "loss" in at.metrics else []
    if "accuracy" in at.metrics:
        words.append(f"accuracy {100 * float(at.metrics['accuracy']):.1f} %")
    elif "mse" in at.metrics:
        words = [f"mse {float(at.metrics['mse']):.3f}"]
    if at.estimates:
        words += [f"validation {show(name, e.mean)}" for name, e in at.estimates.items()]
    return "  ".join(filter(None, [*words, f"{at.tasks_per_second:,.0f} tasks/s" if rate else "", memory()]))


def memory() -> str:
    """The most memory so far: of a device, where it tells, else of this process."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return f"{stats['peak_bytes_in_use'] / 2**30:.1f} GiB on the device"
    try:
        import resource
    except ImportError:  # on Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 2**10
    return f"{unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30:.1f} GiB"
