"""Adaptation curves: a metric against inner steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._canvas import BLUE, Path, figure_of, finish, unit_of


def adaptation_curve(curve: Mapping[int, Mapping[str, Any]], path: Path = None, *, title: str = "") -> Any:
    """Draw each metric against inner steps, with 95 % intervals.

    Args:
      curve: the result of `jaxmeta.adaptation_curve`, ``{num_steps: {"name": Estimate}}``.
      path: where to save.
      title: above the figure.
    """
    steps = sorted(curve)
    figure, axes = figure_of(1, len(curve[steps[0]]), 4.6, 3.4, title)
    for axis, name in zip(axes[0], curve[steps[0]], strict=True):
        unit, scale = unit_of(name)
        mean, ci95 = (scale * np.array([getattr(curve[k][name], field) for k in steps]) for field in ("mean", "ci95"))
        axis.errorbar(steps, mean, ci95, color=BLUE, marker="o", markersize=4, capsize=3)
        axis.set(xlabel="inner steps", ylabel=f"{unit}, {curve[steps[0]][name].num_tasks} tasks")
        axis.set_xticks(steps if len(steps) < 12 else steps[:: len(steps) // 8])
    return finish(figure, path)
