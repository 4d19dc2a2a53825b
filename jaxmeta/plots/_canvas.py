"""Shared by all pictures: the figure, its colours, and names from anywhere as text."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..storage import as_path, is_remote, write_whole

RIGHT, WRONG, BLUE, ORANGE, GREY = "#1a7f37", "#cf222e", "#1f6feb", "#bc4c00", "#8b949e"
COLOURS = "#1f6feb #bc4c00 #1a7f37 #8250df #bf3989 #9a6700 #1b7c83 #57606a #cf222e #0a3069".split()  # of runs, classes
MARKERS = "osD^vPX<>p"  # with the colours, for those who cannot tell them apart
UNITS = {"accuracy": ("accuracy (%)", 100.0), "mse": ("mean squared error", 1.0), "loss": ("meta-loss", 1.0)}
Path = str | os.PathLike[str] | None


def unit_of(metric: str) -> tuple[str, float]:
    """Return the words for a metric on an axis, and the factor of its values there.

    Example:
      >>> unit_of("accuracy"), unit_of("return/1")
      (('accuracy (%)', 100.0), ('return/1', 1.0))
    """
    return UNITS.get(metric, (label(metric), 1.0))


def figure_of(rows: int, columns: int, width: float, height: float, title: str) -> tuple[Any, np.ndarray]:
    """Return a figure of ``rows`` times ``columns`` axes, each ``width`` by ``height`` inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.6), dpi=120, layout="constrained")
    if title:
        figure.suptitle(escaped(title), fontsize=11)
    return figure, figure.subplots(rows, columns, squeeze=False)


def finish(figure: Any, path: Path, *, spines: bool = False) -> Any:
    """Remove the upper and right line of each axis, save the figure if there is a path, and return it."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(spines)
    if isinstance(path, str | os.PathLike) and is_remote(path):
        where = as_path(path)
        write_whole(where, lambda file: figure.savefig(file, format=where.suffix[1:] or None))
    elif path is not None:
        figure.savefig(path)
    return figure


def escaped(text: str) -> str:
    """Return text in which ``$`` is a dollar and does not begin mathematics."""
    return text.replace("$", r"\$")


def label(text: Any, most: int = 40) -> str:
    """Return a name from anywhere as one short line, drawn as it reads.

    A name that begins with an underscore gets an invisible space before it: legends leave such names out.

    Example:
      >>> label("cost in $"), label("a" * 50, 5), label("two\\nlines")
      ('cost in \\\\$', 'aaaa…', 'two lines')
    """
    line = _one_line(text)
    text = escaped(line if len(line) <= most else line[: most - 1] + "…")
    return f"\u200b{text}" if text.startswith("_") else text


def distinct_labels(names: Iterable[Any], most: int = 40) -> list[str]:
    """Return names as `label` does, but shortened so that names that differ stay different.

    A long name keeps its beginning and its end; of names that still look alike the common beginning is left out.

    Example:
      >>> distinct_labels(["Magi/character01", "Magi/character02"], 8)
      ['Mag…er01', 'Mag…er02']
    """
    lines = [_one_line(name) for name in names]
    short = _told_apart(sorted(set(lines)), most)
    return [label(short[line], most) for line in lines]


def _told_apart(lines: list[str], most: int) -> dict[str, str]:
    """Map each of some different lines to at most ``most`` letters."""
    head = (most - 1) // 2
    middle = {line: line if len(line) <= most else line[:head] + "…" + line[head + 1 - most :] for line in lines}
    groups: dict[str, list[str]] = {}
    for line, text in middle.items():
        groups.setdefault(text, []).append(line)
    for alike in groups.values():
        if len(alike) > 1:  # they differ in the middle: begin where they do
            start = len(os.path.commonprefix(alike))
            rest = {line: line[start:] for line in alike}
            cut = {text: text[: most - 1] for text in rest.values()}
            shorter = _told_apart(sorted(set(rest.values())), most - 1) if start else cut
            middle |= {line: "…" + shorter[rest[line]] for line in alike}
    return middle


def _one_line(text: Any) -> str:
    return "".join(c if c.isprintable() else " " for c in str(text))


def letter(number: Any) -> str:
    """Return a name for a class without one: A, B, C ..., and numbers after Z."""
    return chr(ord("A") + int(number)) if int(number) < 26 else str(int(number))


def shown(image: Any) -> np.ndarray:
    """Return an image in [0, 1] as matplotlib draws it: ``[H, W]``, or ``[H, W, 3]`` in colour."""
    image = np.asarray(image, np.float32)
    return np.clip(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image, 0, 1)
