"""Fits of regression tasks, before and after adaptation."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..types import Task
from ._canvas import BLUE, GREY, ORANGE, RIGHT, Path, figure_of, finish, label


def fits(tasks: Task, grid: Any, curves: Mapping[str, Any], path: Path = None, *, title: str = "") -> Any:
    """Draw predictions of a regressor before and after adaptation, over its support points and the true function.

    Args:
      tasks: a stack ``[T, ...]`` of tasks with one input and one output.
      grid: inputs ``[G]`` or ``[G, 1]``.
      curves: ``{"after 1 step": [T, G] or [T, G, 1]}``, drawn in order; a `losses.Gaussian` gets a band.
      path: where to save.
      title: above the figure.
    """
    x, num_tasks = np.ravel(grid), len(tasks.query.y)
    figure, axes = figure_of(1, num_tasks, 3.3, 3.0, title)
    colours = [GREY, ORANGE, BLUE, RIGHT]
    for t, axis in enumerate(axes[0]):
        query, support = (jax.tree.map(lambda a, t=t: np.ravel(a[t]), batch) for batch in (tasks.query, tasks.support))
        axis.plot(query.x, query.y, ".", color="#c8d1da", markersize=6, label="truth", zorder=1)
        for i, (name, values) in enumerate(curves.items()):
            mean, *std = (np.ravel(a[t]) for a in (values if isinstance(values, tuple) else (values,)))
            axis.plot(x, mean, color=colours[i % len(colours)], linewidth=1.6, label=label(name))
            for s in std:
                band = {"color": colours[i % len(colours)], "alpha": 0.2, "linewidth": 0, "zorder": 0}
                axis.fill_between(x, mean - 2 * s, mean + 2 * s, label=f"{label(name)}, ± 2 std", **band)
        axis.plot(support.x, support.y, "^", color="black", markersize=6, label="support set", zorder=3)
        axis.set(xlabel="x", ylabel="y" if t == 0 else "")
    axes[0, 0].figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9
    )
    return finish(figure, path)
