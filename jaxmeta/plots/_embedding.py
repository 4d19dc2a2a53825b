"""Maps of an embedding: where a network puts the examples of each class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._canvas import COLOURS, MARKERS, Path, distinct_labels, figure_of, finish, letter

MOST_NAMES = 25  # a legend stays legible up to so many classes


def embedding_map(
    features: Any,
    labels: Any,
    prototypes: Any = None,
    path: Path = None,
    *,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Any:
    """Draw features on their two principal components: a colour and shape for each class, its prototype as a star.

    The plane is the one in which the features vary most, and the axes say how much of the variance it shows. Classes
    that overlap in it may be apart in directions that it does not show.

    Args:
      features: ``[N, ...]``, flattened to ``[N, D]``.
      labels: the class of each, whole numbers ``[N]`` from 0.
      prototypes: ``[W, ...]`` of the same features, or None.
      path: where to save.
      names: names of the W classes; letters by default.
      title: above the figure.

    Raises:
      ValueError: for lengths that do not match, features that are not finite, or a class without a name.

    Example:
      >>> axis = embedding_map([[0.0, 1.0], [4.0, 1.0]], [0, 1], names=["cat", "dog"]).axes[0]
      >>> axis.get_xlabel(), [text.get_text() for text in axis.get_legend().get_texts()]
      ('component 1 (100 % of the variance)', ['cat', 'dog'])
    """
    z, y = np.asarray(features, np.float64), np.asarray(labels)
    z = z.reshape(len(z), -1)
    centres = None if prototypes is None else np.asarray(prototypes, np.float64).reshape(len(prototypes), -1)
    _check(z, y, centres, names)
    axes, shares = _plane(z)
    figure, ((axis,),) = figure_of(1, 1, 6.2, 4.4, title)
    texts = distinct_labels(names if names is not None else map(letter, range(int(y.max()) + 1)), 32)
    has_legend = len(np.unique(y)) <= MOST_NAMES
    for w in np.unique(y):
        style = {"color": COLOURS[w % len(COLOURS)], "zorder": 2}
        shape = MARKERS[(w + w // len(COLOURS)) % len(MARKERS)]  # a pair that comes again after a hundred classes
        name = texts[w]
        axis.scatter(*_on(axes, z, z[y == w]), s=24, marker=shape, alpha=0.7, linewidth=0, label=name, **style)
        if centres is not None and w < len(centres):
            axis.scatter(*_on(axes, z, centres[w : w + 1]), s=190, marker="*", edgecolor="black", **style)
            if not has_legend:
                spot = _on(axes, z, centres[w : w + 1])[:, 0]
                axis.annotate(name, spot, (7, 5), textcoords="offset points", fontsize=8, weight="bold", zorder=3)
    for i, (side, share) in enumerate(zip("xy", shares, strict=True)):
        axis.set(**{f"{side}label": f"component {i + 1} ({100 * share:.0f} % of the variance)"})
    if has_legend:
        star = None if centres is None else "★ prototype"
        axis.legend(title=star, frameon=False, fontsize=8, title_fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return finish(figure, path)


def _check(z: np.ndarray, y: np.ndarray, centres: np.ndarray | None, names: Sequence[str] | None) -> None:
    if y.shape != z.shape[:1] or not y.size:
        raise ValueError(f"`features` has {len(z)} rows and `labels` shape {y.shape}: pass one label for each row.")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise ValueError(f"`labels` must be whole numbers from 0, got {y.dtype} from {y.min()}.")
    if not np.isfinite(z).all():
        raise ValueError("`features` holds NaN or infinite values: the network that made them has diverged.")
    if centres is not None and centres.shape[1] != z.shape[1]:
        raise ValueError(f"`prototypes` has {centres.shape[1]} dimensions and `features` {z.shape[1]}.")
    if names is not None and y.max() >= len(names):
        raise ValueError(f"`names` has {len(names)} entries, but `labels` go up to {y.max()}.")


def _on(axes: np.ndarray, z: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points in the plane ``axes`` through the mean of ``z``, ``[2, N]``."""
    return axes @ (points - z.mean(0)).T


def _plane(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two directions ``[2, D]`` in which ``z`` ``[N, D]`` varies most, and their shares of its variance."""
    _, sizes, axes = np.linalg.svd(z - z.mean(0), full_matrices=False)
    shares = sizes**2 / max(float((sizes**2).sum()), np.finfo(float).tiny)
    missing = max(2 - len(sizes), 0)  # of features with one dimension, or a single example
    return np.pad(axes, ((0, missing), (0, 0)))[:2], np.pad(shares, (0, missing))[:2]
