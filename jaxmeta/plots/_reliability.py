"""Reliability diagrams: how often a learner is right when it is so sure."""

from typing import Any

import numpy as np

from ._canvas import BLUE, GREY, ORANGE, Path, figure_of, finish


def reliability(outputs: Any, true: Any, path: Path = None, *, num_bins: int = 10, title: str = "") -> Any:
    r"""Draw the accuracy of predictions over their confidence, with the share of predictions in each bin below.

    The confidence is the largest softmax probability. Above the axes stand the expected calibration error
    $\sum_b \frac{n_b}{n} |\mathrm{acc}_b - \mathrm{conf}_b|$ over all predictions together, and their mean negative
    log-likelihood. Guo et al., 2017, https://arxiv.org/abs/1706.04599.

    Args:
      outputs: logits ``[..., W]``.
      true: labels ``[...]``, whole numbers from 0.
      path: where to save.
      num_bins: bins of equal width.
      title: above the figure.

    Raises:
      ValueError: for shapes that do not match, nothing to count, or a label that is not among the classes.

    Example:
      >>> logits = np.log([[0.75, 0.25], [0.75, 0.25]])  # sure to 75 %, right once in two
      >>> reliability(logits, [0, 1]).axes[0].get_title()
      'calibration error 25.0 %, 0.837 nats'
    """
    logits, labels = np.asarray(outputs, np.float64), np.asarray(true)
    if logits.ndim < 2 or logits.shape[:-1] != labels.shape or not labels.size:
        raise ValueError(
            f"`outputs` has shape {logits.shape} and `true` {labels.shape}: logits [..., W] need labels [...], at "
            "least one."
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= logits.shape[-1]:
        raise ValueError(f"`true` must be whole numbers from 0 to {logits.shape[-1] - 1}, one for each class.")
    logits, labels = logits.reshape(-1, logits.shape[-1]), labels.ravel()
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    confidence, right = np.exp(log_p.max(-1)), log_p.argmax(-1) == labels
    which = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(which, minlength=num_bins)
    mean = lambda values: np.bincount(which, values, num_bins) / np.maximum(count, 1)
    accuracy, sure = mean(right), mean(confidence)
    error = (count * np.abs(accuracy - sure)).sum() / len(labels)
    nats = -log_p[np.arange(len(labels)), labels].mean()
    return _drawn(accuracy, sure, count, f"calibration error {100 * error:.1f} %, {nats:.3f} nats", path, title)


def _drawn(accuracy: np.ndarray, sure: np.ndarray, count: np.ndarray, words: str, path: Path, title: str) -> Any:
    figure, axes = figure_of(2, 1, 4.2, 2.4, title)
    above, below = axes[:, 0]
    edges, width, some = np.arange(len(count)) / len(count), 1 / len(count), count > 0
    above.bar(edges[some], accuracy[some], width, align="edge", color=BLUE, edgecolor="white", label="accuracy")
    above.plot(sure[some], sure[some], "o", color=ORANGE, markersize=4, label="confidence")
    above.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=words)
    above.title.set_fontsize(9)
    above.legend(frameon=False, fontsize=8, loc="upper left")
    below.bar(edges, count / count.sum(), width, align="edge", color=GREY, edgecolor="white")
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="share")
    return finish(figure, path)
