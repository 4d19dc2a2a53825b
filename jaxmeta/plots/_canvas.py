"""What pictures share: the figure, its colours, and strangers' words on it."""

import os
from typing import Any

import numpy as np

from ..storage import as_path, is_remote, write_whole

RIGHT, WRONG, BLUE, ORANGE, GREY = "#1a7f37", "#cf222e", "#1f6feb", "#bc4c00", "#8b949e"
COLOURS = "#1f6feb #bc4c00 #1a7f37 #8250df #bf3989 #9a6700 #1b7c83 #57606a #cf222e #0a3069".split()  # of runs, classes
MARKERS = "osD^vPX<>p"  # with the colours, for those who cannot tell them apart
UNITS = {"accuracy": ("accuracy (%)", 100.0), "mse": ("mean squared error", 1.0), "loss": ("meta-loss", 1.0)}
Path = str | os.PathLike[str] | None


def figure_of(rows: int, columns: int, width: float, height: float, title: str) -> tuple[Any, np.ndarray]:
    """A figure of ``rows`` times ``columns`` axes, each ``width`` by ``height`` inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.6), dpi=120, layout="constrained")
    if title:
        figure.suptitle(escaped(title), fontsize=11)
    return figure, figure.subplots(rows, columns, squeeze=False)


def finish(figure: Any, path: Path, *, spines: bool = False) -> Any:
    """The figure without the lines nobody needs, saved where that is asked."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(spines)
    if isinstance(path, str | os.PathLike) and is_remote(path):
        where = as_path(path)
        write_whole(where, lambda file: figure.savefig(file, format=where.suffix[1:] or None))
    elif path is not None:
        figure.savefig(path)
    return figure


def escaped(text: str) -> str:
    """Text in which ``$`` is a dollar and not the beginning of mathematics."""
    return text.replace("$", r"\$")


def label(text: Any, most: int = 40) -> str:
    """A name from anywhere as one short line that is drawn as it reads; legends leave out what begins with a low line.

    Example:
      >>> label("cost in $"), label("a" * 50, 5), label("two\\nlines")
      ('cost in \\\\$', 'aaaa…', 'two lines')
    """
    line = "".join(c if c.isprintable() else " " for c in str(text))
    text = escaped(line if len(line) <= most else line[: most - 1] + "…")
    return f"\u200b{text}" if text.startswith("_") else text


def letter(number: Any) -> str:
    """What a class is called that has no name: A, B, C ..., and numbers after Z."""
    return chr(ord("A") + int(number)) if int(number) < 26 else str(int(number))


def shown(image: Any) -> np.ndarray:
    """An image in [0, 1] as it is drawn: ``[H, W]``, or ``[H, W, 3]`` in colour."""
    image = np.asarray(image, np.float32)
    return np.clip(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image, 0, 1)
