"""Confusion matrices: which classes are mistaken for which."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._canvas import Path, distinct_labels, figure_of, finish, letter, shown

MOST_COUNTS, MOST_NAMES = 25, 60  # numbers and names stay legible up to so many classes


def confusion(
    predicted: Any,
    true: Any,
    names: Sequence[str] | None = None,
    path: Path = None,
    *,
    images: Any = None,
    title: str = "",
) -> Any:
    """Draw the confusion matrix: a row for each true class. Colours are shares, numbers are counts.

    Args:
      predicted: labels ``[...]``, or outputs ``[..., W]`` whose largest entry is the label.
      true: labels ``[...]``, whole numbers from 0.
      names: names of the W classes; letters by default. Long ones are shortened so that they stay different.
      path: where to save.
      images: one of each class, ``[W, ...]`` as for `episodes`, drawn beside its name.
      title: above the figure.

    Raises:
      ValueError: for shapes that do not match, nothing to count, or a label that is not among the classes.

    Example:
      >>> [text.get_text() for text in confusion([0, 1, 1], [0, 0, 1], ["cat", "dog"]).axes[0].texts]
      ['1', '1', '1']
    """
    counts = _counts(np.asarray(predicted), np.asarray(true), names)
    num_ways = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    texts = distinct_labels(names or map(letter, range(num_ways)), 32) if num_ways <= MOST_NAMES else []
    side, margin = float(np.clip(0.4 * num_ways, 2.6, 12)), 0.075 * max(map(len, texts), default=0)
    figure, ((axis,),) = figure_of(1, 1, side + margin + 1.8, side + margin + 0.6, title)
    picture = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axis, shrink=0.8, label="share of the true class")
    for row, column in zip(*np.nonzero(counts), strict=True) if num_ways <= MOST_COUNTS else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axis.set(xlabel="predicted class", ylabel="true class")
    _name(axis, texts, images)
    return finish(figure, path, spines=True)


def _name(axis: Any, texts: list[str], images: Any) -> None:
    """Write the classes' names along both sides, and draw a picture between each name and its row or column."""
    steep = max(map(len, texts), default=0) > 2
    axis.set_xticks(range(len(texts)), texts, fontsize=8, rotation=90 if steep else 0)
    axis.set_yticks(range(len(texts)), texts, fontsize=8)
    if images is None or not texts:
        return
    axis.tick_params(length=0, pad=22)
    for w, image in enumerate(images):
        for at, side, place in (
            ((w, 0), axis.get_xaxis_transform(), (0.5, 1.1)),
            ((0, w), axis.get_yaxis_transform(), (1.1, 0.5)),
        ):
            axis.add_artist(_thumbnail(image, at, side, place))


def _thumbnail(image: Any, at: tuple[int, int], side: Any, place: tuple[float, float]) -> Any:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    image = shown(image)
    picture = OffsetImage(image, zoom=18 / max(image.shape[:2]), cmap="gray_r")
    picture.image.set_clim(0, 1)
    return AnnotationBbox(picture, at, xycoords=side, box_alignment=place, frameon=False, pad=0)


def _counts(predicted: np.ndarray, true: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
    """Return ``[W, W]``: how often the class of a row was predicted as that of a column."""
    num_ways = predicted.shape[-1] if predicted.ndim == true.ndim + 1 else None
    predicted = predicted if num_ways is None else predicted.argmax(-1)
    if predicted.shape != true.shape or not true.size:
        raise ValueError(
            f"`predicted` has shape {predicted.shape} and `true` {true.shape}: both need the same labels [...], at "
            "least one, or `predicted` the outputs [..., W] of as many."
        )
    both = np.stack([true.ravel(), predicted.ravel()])
    if not np.issubdtype(both.dtype, np.integer):
        raise ValueError(f"`predicted` and `true` must be whole numbers, got {predicted.dtype} and {true.dtype}.")
    num_ways = num_ways or (int(both.max()) + 1 if names is None else len(names))
    if names is not None and len(names) != num_ways:
        raise ValueError(f"`names` has {len(names)} entries for {num_ways} classes. Pass one for each.")
    if both.min() < 0 or both.max() >= num_ways:
        raise ValueError(f"labels go from {both.min()} to {both.max()}, but classes are 0 to {num_ways - 1}.")
    counts = np.zeros((num_ways, num_ways), int)
    np.add.at(counts, tuple(both), 1)
    return counts
