"""Episodes: support and query images, with the predictions."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ..types import Task
from ._canvas import RIGHT, WRONG, Path, distinct_labels, figure_of, finish, letter, shown


def episodes(
    tasks: Task,
    outputs: Any,
    path: Path = None,
    *,
    num_queries: int = 10,
    num_support: int = 10,
    names: Sequence[Sequence[str]] | None = None,
    title: str = "",
) -> Any:
    """Draw support and query images of classification tasks, with predicted labels: right in green, wrong in red.

    Args:
      tasks: one task, or a stack ``[T, ...]``, of images ``[N, H, W]`` or ``[N, H, W, channels]`` in [0, 1].
      outputs: logits of the queries, ``[N, W]`` or ``[T, N, W]``.
      path: where to save.
      num_queries: queries to show of each task, spread over its classes.
      num_support: support images to show of each task, spread over its classes.
      names: for each task the names of its W classes; letters by default.
      title: above the figure.

    Raises:
      ValueError: if ``names`` has not one entry for each task.
    """
    if np.ndim(tasks.query.y) == 1:
        tasks, outputs = jax.tree.map(lambda a: np.asarray(a)[None], (tasks, outputs))
    num_tasks, total = np.shape(tasks.support.y)
    if names is not None and len(names) != num_tasks:
        raise ValueError(f"`names` has {len(names)} entries for {num_tasks} tasks: pass one list of names for each.")
    num_support, num_queries = min(num_support, total), min(num_queries, np.shape(tasks.query.y)[1])
    width, size = num_support + 1 + num_queries, 7 if names is None else 6
    figure, axes = figure_of(num_tasks, width, 0.68, 0.9 if names is None else 1.05, f"{title}\n")
    for t in range(num_tasks):
        support, query = jax.tree.map(lambda a, t=t: np.asarray(a)[t], (tasks.support, tasks.query))
        called = letter if names is None else distinct_labels(names[t], 11).__getitem__
        for axis, i in zip(axes[t], _spread(support.y, num_support), strict=False):
            _image(axis, support.x[i], called(int(support.y[i])), "black", size)
        axes[t, num_support].axis("off")
        for axis, i in zip(axes[t, num_support + 1 :], _spread(query.y, num_queries), strict=True):
            predicted, true = int(np.argmax(outputs[t][i])), int(query.y[i])
            actual = f" (is {called(true)})" if names is None else f"\nis {called(true)}"
            text = called(true) if predicted == true else f"{called(predicted)}{actual}"
            _image(axis, query.x[i], text, RIGHT if predicted == true else WRONG, size)
    shots = "support set" if num_support == total else f"support set, {num_support} of {total}"
    for column, text in ((0, shots), (num_support + 1, "queries with predictions")):
        note = axes[0, column].annotate(
            text, (0, 1.38 if names is None else 1.55), xycoords="axes fraction", fontsize=9, weight="bold"
        )
        note.set_in_layout(False)  # it is wider than its column, which must not grow
    return finish(figure, path, spines=True)


def _spread(labels: np.ndarray, most: int) -> np.ndarray:
    """Return ``most`` rows, as equally many of each class as there are, in the order of the classes."""
    turn = np.zeros(len(labels), int)  # how many of its class come before it
    for w in np.unique(labels):
        turn[labels == w] = np.arange(np.sum(labels == w))
    return np.sort(np.lexsort((labels, turn))[:most])


def _image(axis: Any, image: np.ndarray, text: str, colour: str, size: float) -> None:
    axis.imshow(shown(image), cmap="gray_r", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(text, color=colour, fontsize=size, pad=2.5)
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=1.2 if colour != "black" else 0.6)
