"""Learning curves, of one run or of several."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._canvas import BLUE, COLOURS, ORANGE, Path, figure_of, finish, label, unit_of

History = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def learning_curve(history: History, path: Path = None, *, title: str = "") -> Any:
    """Draw loss and metric over meta-steps, with the estimates of validation and their intervals.

    Args:
      history: the history that `fit` returns, or a list of rows such as those of ``metrics.jsonl``.
      path: where to save, by suffix PNG, PDF or SVG.
      title: above the figure.

    Example:
      >>> learning_curve({"step": [1, 2], "loss": [3.0, 2.0]}).axes[0].get_ylabel()
      'meta-loss'
    """
    columns = _columns(history)
    names = _shown([columns])
    figure, axes = figure_of(1, len(names), 4.6, 3.4, title)
    for axis, name in zip(axes[0], names, strict=True):
        _draw_curve(axis, columns, name)
        _scale(axis, [columns], name)
        axis.legend(frameon=False, fontsize=8)
    return finish(figure, path)


def learning_curves(histories: Mapping[str, History], path: Path = None, *, title: str = "") -> Any:
    """Draw the curves of several runs over each other: of validation where a run has it, else of training.

    Above each axis stands which tasks the curves are of.

    Args:
      histories: by the runs' names, each as for `learning_curve`.
      path: where to save.
      title: above the figure.

    Raises:
      ValueError: if there is no run, or none has a row.

    Example:
      >>> runs = {"slow": {"step": [1, 2], "loss": [3.0, 2.0]}, "fast": {"step": [1, 2], "loss": [3.0, 1.0]}}
      >>> [text.get_text() for text in learning_curves(runs).legends[0].get_texts()]
      ['slow', 'fast']
    """
    runs = {name: _columns(history) for name, history in histories.items()}
    if not any(columns["step"].size for columns in runs.values() if "step" in columns):
        raise ValueError("`histories` has no row to draw. Pass at least one run that has logged a step.")
    names = _shown(list(runs.values()))
    figure, axes = figure_of(1, len(names), 4.6, 3.4, title)
    lines = [_draw_run(axes[0], columns, names, i) for i, columns in enumerate(runs.values())]
    for axis, name in zip(axes[0], names, strict=True):
        _scale(axis, list(runs.values()), name)
        axis.set_title(_tasks(list(runs.values()), name), fontsize=9)
    figure.legend(
        lines, list(map(label, runs)), loc="outside lower center", ncols=min(len(runs), 3), frameon=False, fontsize=9
    )
    return finish(figure, path)


def _draw_run(axes: Any, columns: dict[str, np.ndarray], names: list[str], i: int) -> Any:
    """Draw one run on every axis and return the handle for the legend."""
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": ("-", "--", ":", "-.")[i // len(COLOURS) % 4],
    }
    for axis, name in zip(axes, names, strict=True):
        if f"eval/{name}" in columns:
            mean, ci95 = (unit_of(name)[1] * columns[key] for key in (f"eval/{name}", f"eval/{name}/ci95"))
            axis.errorbar(columns["eval/step"], mean, ci95, marker="o", markersize=4, capsize=3, **style)
        elif name in columns:
            mean = unit_of(name)[1] * _over_seeds(columns[name])
            smooth = _smooth(mean)
            points = {"marker": "o", "markersize": 3} if smooth is None else {}
            axis.plot(columns["step"], mean if smooth is None else smooth, linewidth=1.8, **points, **style)
    return Line2D([], [], linewidth=1.8, **style)


def _tasks(runs: list[dict[str, np.ndarray]], name: str) -> str:
    """Return the kind of tasks on which the curves of an axis were measured."""
    validated = {f"eval/{name}" in columns for columns in runs if name in columns}
    both = "validation tasks with intervals, training tasks without"
    return both if len(validated) > 1 else "validation tasks" if True in validated else "training tasks"


def _shown(runs: list[dict[str, np.ndarray]]) -> list[str]:
    """Return the metrics that get an axis."""
    names = [n for n in ("accuracy", "mse", "loss") if any(n in columns for columns in runs)]
    if not names:  # of reinforcement learning: return, or return/0, return/1 ...
        return sorted({n for columns in runs for n in columns if n.partition("/")[0] == "return"})
    return [n for n in names if n != "loss" or "mse" not in names]  # the same numbers twice


def _scale(axis: Any, runs: list[dict[str, np.ndarray]], name: str) -> None:
    axis.set(xlabel="meta-step", ylabel=unit_of(name)[0])
    values = np.concatenate([columns[name].ravel() for columns in runs if name in columns])
    low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=0)
    if name in ("mse", "loss") and 0 < 10 * low < high < np.inf:
        axis.set_yscale("log")


def _columns(history: Any) -> dict[str, np.ndarray]:
    """Return rows or a history as columns; those of validation are shorter."""
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
    step, scale = columns["step"], unit_of(name)[1]
    mean = _over_seeds(columns[name])
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


def _over_seeds(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 1 else values.mean(1)


def _smooth(values: np.ndarray) -> np.ndarray | None:
    """Return a centred running mean over a twentieth of the curve, or None if the curve is short."""
    half = len(values) // 40
    if half < 1:
        return None
    ends = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
    low, high = (np.clip(np.arange(len(values)) + d, 0, len(values)) for d in (-half, half + 1))
    return (ends[high] - ends[low]) / (high - low)
