"""Images of a data set: a row for each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._canvas import Path, finish, label

TILE, GAP = 84, 4  # pixels of the picture, per image and between two


def class_images(images: Mapping[str, Sequence[Any]], path: Path = None) -> Any:
    """Draw a row of images for each class, its name above it.

    Args:
      images: the images of each class, by name: uint8 ``[H, W, 1 or 3]``, of any sizes.
      path: where to save.

    Raises:
      ValueError: if there is no image, or one has another dtype or shape.

    Example:
      >>> figure = class_images({"cat": [np.zeros((8, 8, 3), np.uint8)], "dog": [np.zeros((9, 5, 1), np.uint8)] * 2})
      >>> [axis.get_title(loc="left") for axis in figure.axes]
      ['cat', 'dog']
    """
    from matplotlib.figure import Figure

    widest = max(map(len, images.values()), default=0) * (TILE + GAP)
    if not widest:
        raise ValueError("`images` holds no image, so there is nothing to draw.")
    figure = Figure(figsize=(widest / 100 + 0.2, len(images) * (TILE / 100 + 0.26)), dpi=100, facecolor="white")
    for row, (name, some) in enumerate(images.items()):
        axis = figure.add_axes((0.1 / figure.get_figwidth(), 1 - (row + 1) / len(images), 1, 0.78 / len(images)))
        for i, image in enumerate(some):
            _draw(axis, np.asarray(image), i * (TILE + GAP))
        axis.set(xlim=(0, widest), ylim=(TILE, 0), anchor="W", aspect="equal")
        axis.axis("off")
        axis.set_title(label(name, 60), loc="left", fontsize=8, pad=2)
    return finish(figure, path)


def _draw(axis: Any, image: np.ndarray, left: int) -> None:
    """Draw an image in a square from ``left`` on, as large as its shape lets it be."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"A picture shows uint8 images [H, W, 1 or 3], but these are {image.dtype} {image.shape}.")
    height, width = (TILE * size / max(image.shape[:2]) for size in image.shape[:2])
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    axis.imshow(
        pixels, cmap="gray", vmin=0, vmax=255, extent=(left, left + width, height, 0), interpolation="antialiased"
    )
