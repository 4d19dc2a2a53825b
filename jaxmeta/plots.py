"""Pictures of training and of tasks. Each function returns a matplotlib `Figure`, and saves it if given a path.

Figures are made directly, without pyplot: no window, no global state, nothing to close.

Letters: T tasks, N examples, W ways, G points of a grid.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from .types import Task

RIGHT, WRONG, BLUE, ORANGE, GREY = "#1a7f37", "#cf222e", "#1f6feb", "#bc4c00", "#8b949e"
_UNITS = {"accuracy": ("accuracy (%)", 100.0), "mse": ("mean squared error", 1.0), "loss": ("meta-loss", 1.0)}
Path = str | os.PathLike | None


def learning_curve(
    history: Mapping[str, Any] | Sequence[Mapping[str, Any]], path: Path = None, *, title: str = ""
) -> Any:
    """Loss and metric over meta-steps, with the validation's estimates and their intervals.

    Args:
      history: what `fit` returns, or a list of rows such as those of ``metrics.jsonl``.
      path: where to save, by suffix PNG, PDF or SVG.
      title: above the figure.

    Example:
      >>> learning_curve({"step": [1, 2], "loss": [3.0, 2.0]}).axes[0].get_ylabel()
      'meta-loss'
    """
    columns = _columns(history)
    names = [n for n in ("accuracy", "mse", "loss") if n in columns]
    names = [n for n in names if n != "loss" or "mse" not in names]  # the same numbers twice
    figure, axes = _figure(1, len(names), 4.6, 3.4, title)
    for axis, name in zip(axes[0], names, strict=True):
        _draw_curve(axis, columns, name)
        axis.set(xlabel="meta-step", ylabel=_UNITS[name][0])
        low, high = np.nanmin(columns[name], initial=np.inf), np.nanmax(columns[name], initial=0)
        if name != "accuracy" and 0 < 10 * low < high < np.inf:
            axis.set_yscale("log")
        axis.legend(frameon=False, fontsize=8)
    return _finish(figure, path)


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
    figure, axes = _figure(num_tasks, width, 0.68, 0.9, f"{title}\n")
    for t in range(num_tasks):
        support, query = jax.tree.map(lambda a, t=t: np.asarray(a)[t], (tasks.support, tasks.query))
        for i in range(num_support):
            _image(axes[t, i], support.x[i], _letter(support.y[i]), "black")
        axes[t, num_support].axis("off")
        for axis, i in zip(axes[t, num_support + 1 :], rows, strict=True):
            said, true = int(np.argmax(outputs[t][i])), int(query.y[i])
            text = _letter(said) if said == true else f"{_letter(said)} (is {_letter(true)})"
            _image(axis, query.x[i], text, RIGHT if said == true else WRONG)
    for column, text in ((0, "support set"), (num_support + 1, "queries, and what was predicted")):
        note = axes[0, column].annotate(text, (0, 1.5), xycoords="axes fraction", fontsize=9, weight="bold")
        note.set_in_layout(False)  # it is wider than its column, which must not grow
    return _finish(figure, path, spines=True)


def adaptation_curve(curve: Mapping[int, Mapping[str, Any]], path: Path = None, *, title: str = "") -> Any:
    """A metric against inner steps, with 95 % intervals.

    Args:
      curve: what `jaxmeta.adaptation_curve` returns, ``{num_steps: {"name": Estimate}}``.
      path: where to save.
      title: above the figure.
    """
    steps = sorted(curve)
    figure, axes = _figure(1, len(curve[steps[0]]), 4.6, 3.4, title)
    for axis, name in zip(axes[0], curve[steps[0]], strict=True):
        label, scale = _UNITS.get(name, (name, 1.0))
        mean, ci95 = (scale * np.array([getattr(curve[k][name], what) for k in steps]) for what in ("mean", "ci95"))
        axis.errorbar(steps, mean, ci95, color=BLUE, marker="o", markersize=4, capsize=3)
        axis.set(xlabel="inner steps", ylabel=f"{label}, {curve[steps[0]][name].num_tasks} tasks")
        axis.set_xticks(steps if len(steps) < 12 else steps[:: len(steps) // 8])
    return _finish(figure, path)


def fits(tasks: Task, grid: Any, curves: Mapping[str, Any], path: Path = None, *, title: str = "") -> Any:
    """What a regressor believes before and after adaptation, over the points it has seen and those it is asked.

    Args:
      tasks: a stack ``[T, ...]`` of tasks with one input and one output.
      grid: inputs ``[G]`` or ``[G, 1]``.
      curves: ``{"after 1 step": [T, G] or [T, G, 1]}``, drawn in order; a `losses.Gaussian` gets a band.
      path: where to save.
      title: above the figure.
    """
    x, num_tasks = np.ravel(grid), len(tasks.query.y)
    figure, axes = _figure(1, num_tasks, 3.3, 3.0, title)
    colours = [GREY, ORANGE, BLUE, RIGHT]
    for t, axis in enumerate(axes[0]):
        query, support = (jax.tree.map(lambda a, t=t: np.ravel(a[t]), batch) for batch in (tasks.query, tasks.support))
        axis.plot(query.x, query.y, ".", color="#c8d1da", markersize=6, label="truth", zorder=1)
        for i, (name, values) in enumerate(curves.items()):
            mean, *std = (np.ravel(a[t]) for a in (values if isinstance(values, tuple) else (values,)))
            axis.plot(x, mean, color=colours[i % len(colours)], linewidth=1.6, label=name)
            for s in std:
                band = {"color": colours[i % len(colours)], "alpha": 0.2, "linewidth": 0, "zorder": 0}
                axis.fill_between(x, mean - 2 * s, mean + 2 * s, label=f"{name}, ± 2 std", **band)
        axis.plot(support.x, support.y, "^", color="black", markersize=6, label="support set", zorder=3)
        axis.set(xlabel="x", ylabel="y" if t == 0 else "")
    axes[0, 0].figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9
    )
    return _finish(figure, path)


def _figure(rows: int, columns: int, width: float, height: float, title: str) -> tuple[Any, np.ndarray]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + 0.6), dpi=120, layout="constrained")
    if title:
        figure.suptitle(title.replace("$", r"\$"), fontsize=11)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _finish(figure: Any, path: Path, *, spines: bool = False) -> Any:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(spines)
    if path is not None:
        figure.savefig(path)
    return figure


def _columns(history: Any) -> dict[str, np.ndarray]:
    """Rows or a history as columns; a validation has its own, shorter ones."""
    if isinstance(history, Mapping):
        return {name: np.asarray(values, float) for name, values in history.items()}
    rows = [dict(row) for row in history]
    names = dict.fromkeys(name for row in rows for name in row)
    value = lambda row, name: np.nan if row.get(name) is None else float(row[name])
    columns = {n: np.array([value(row, n) for row in rows]) for n in names if not n.startswith("eval/")}
    validated = [row for row in rows if any(name.startswith("eval/") for name in row)]
    for name in [n for n in names if n.startswith("eval/")] + (["step"] if validated else []):
        columns[name if name != "step" else "eval/step"] = np.array([value(row, name) for row in validated])
    return columns


def _draw_curve(axis: Any, columns: dict[str, np.ndarray], name: str) -> None:
    step, scale = columns["step"], _UNITS[name][1]
    mean = columns[name] if columns[name].ndim == 1 else columns[name].mean(1)  # over seeds
    smooth = _smooth(mean)
    style = {"color": BLUE, "linewidth": 1.8}
    if smooth is None:
        axis.plot(step, scale * mean, marker="o", markersize=3, label="training tasks", **style)
    else:
        axis.plot(step, scale * mean, color=BLUE, alpha=0.3, linewidth=0.8)
        axis.plot(step, scale * smooth, label="training tasks, running mean", **style)
    if f"eval/{name}" in columns:
        mean, ci95 = scale * columns[f"eval/{name}"], scale * columns[f"eval/{name}/ci95"]
        style = {"color": ORANGE, "marker": "o", "markersize": 4, "capsize": 3, "linewidth": 1.2}
        axis.errorbar(columns["eval/step"], mean, ci95, label="validation tasks, 95 % interval", **style)


def _smooth(values: np.ndarray) -> np.ndarray | None:
    """A centred running mean over a twentieth of the curve; None where it is too short to need one."""
    half = len(values) // 40
    if half < 1:
        return None
    ends = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
    low, high = (np.clip(np.arange(len(values)) + d, 0, len(values)) for d in (-half, half + 1))
    return (ends[high] - ends[low]) / (high - low)


def _image(axis: Any, image: np.ndarray, text: str, colour: str) -> None:
    image = np.asarray(image, np.float32)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    axis.imshow(np.clip(image, 0, 1), cmap="gray_r", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_title(text, color=colour, fontsize=7, pad=2.5)
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=1.2 if colour != "black" else 0.6)


def _letter(label: Any) -> str:
    return chr(ord("A") + int(label)) if int(label) < 26 else str(int(label))
