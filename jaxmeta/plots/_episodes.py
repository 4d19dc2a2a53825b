"""Episodes: support and query images, with what was predicted."""

from typing import Any

import jax
import numpy as np

from ..types import Task
from ._canvas import RIGHT, WRONG, Path, figure_of, finish, letter, shown


def episodes(tasks: Task, outputs: Any, path: Path = None, *, num_queries: int = 10, title: str = "") -> Any:
    """Support and query images of classification tasks, with the predicted labels: right in green, wrong in red.

    Args:
      tasks: one task, or a stack ``[T, ...]``, of images ``[N, H, W]`` or ``[N, H, W, channels]`` in [0, 1].
      outputs: logits of the queries, ``[N, W]`` or ``[T, N, W]``.
      path: where to save.
      num_queries: queries to show of each task, spread over its classes.
      title: above the figure.
    """
    if np.ndim(tasks.query.y) == 1:
        tasks, outputs = jax.tree.map(lambda a: np.asarray(a)[None], (tasks, outputs))
    shown = min(num_queries, tasks.query.y.shape[1])
    rows = np.linspace(0, tasks.query.y.shape[1] - 1, shown).round().astype(int)
    num_support = tasks.support.y.shape[1]
    num_tasks, width = len(tasks.query.y), num_support + 1 + shown
    figure, axes = figure_of(num_tasks, width, 0.68, 0.9, f"{title}\n")
    for t in range(num_tasks):
        support, query = jax.tree.map(lambda a, t=t: np.asarray(a)[t], (tasks.support, tasks.query))
        for i in range(num_support):
            _image(axes[t, i], support.x[i], letter(support.y[i]), "black")
        axes[t, num_support].axis("off")
        for axis, i in zip(axes[t, num_support + 1 :], rows, strict=True):
            said, true = int(np.argmax(outputs[t][i])), int(query.y[i])
            text = letter(said) if said == true else f"{letter(said)} (is {letter(true)})"
            _image(axis, query.x[i], text, RIGHT if said == true else WRONG)
    for column, text in ((0, "support set"), (num_support + 1, "queries, and what was predicted")):
        note = axes[0, column].annotate(text, (0, 1.5), xycoords="axes fraction", fontsize=9, weight="bold")
        note.set_in_layout(False)  # it is wider than its column, which must not grow
    return finish(figure, path, spines=True)


def _image(axis: Any, image: np.ndarray, text: str, colour: str) -> None:
    axis.imshow(shown(image), cmap="gray_r", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(text, color=colour, fontsize=7, pad=2.5)
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=1.2 if colour != "black" else 0.6)
