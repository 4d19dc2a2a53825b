"""A picture of a data set: a row of images per class, with its name."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxmeta.datasets._images import resize_array
from jaxmeta.datasets._inspect import Source, shown
from jaxmeta.storage import write_whole

TILE, GAP = 84, 4  # pixels


def draw_grid(source: Source, out: Path, num_classes: int, num_images: int) -> None:
    """Writes a PNG: classes and images of a class are spread evenly over what there is."""
    rows = [(part, name, items) for part, classes in source.parts.items() for name, items in classes.items()]
    if not rows:
        raise ValueError(source.odd[0] if source.odd else "There are no images, so there is nothing to draw.")
    chosen = [rows[i] for i in spread(len(rows), num_classes)]
    strips = [_strip([source.read(items[i]) for i in spread(len(items), num_images)]) for _, _, items in chosen]
    names = [shown(f"{part}: {name}" if part else name) for part, name, _ in chosen]
    figure = _figure(strips, names)
    write_whole(out, lambda file: figure.savefig(file, format="png", dpi=100))


def spread(total: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the numbers below ``total``, at even distances.

    Example:
      >>> spread(10, 4), spread(2, 4)
      ([0, 3, 6, 9], [0, 1])
    """
    return sorted({round(float(i)) for i in np.linspace(0, total - 1, min(total, wanted))})


def _strip(images: list[np.ndarray]) -> np.ndarray:
    """Images side by side, uint8 ``[TILE, *, 3]``, each as large as its shape lets it be."""
    gap = np.full((TILE, GAP, 3), 255, np.uint8)
    tiles = [np.broadcast_to(_tile(image), (TILE, TILE, 3)) for image in images]
    return np.concatenate([part for tile in tiles for part in (tile, gap)], 1)


def _tile(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"A picture shows uint8 images [h, w, 1 or 3], but these are {image.dtype} {image.shape}.")
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    small = resize_array(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    tile = np.full((TILE, TILE, image.shape[-1]), 255, np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small
    return tile


def _figure(strips: list[np.ndarray], names: list[str]) -> Any:
    """A row of the figure for each strip, its name above it; letters of a name are never read as mathematics."""
    from matplotlib.figure import Figure

    widest = max(strip.shape[1] for strip in strips)
    figure = Figure(figsize=(widest / 100 + 0.2, len(strips) * (TILE / 100 + 0.26)), facecolor="white")
    for row, (strip, name) in enumerate(zip(strips, names, strict=True)):
        axis = figure.add_axes((0.1 / figure.get_figwidth(), 1 - (row + 1) / len(strips), 1, 0.78 / len(strips)))
        axis.imshow(strip, interpolation="nearest", extent=(0, strip.shape[1], TILE, 0))
        axis.set(xlim=(0, widest), ylim=(TILE, 0), anchor="W")
        axis.axis("off")
        axis.set_title(name, loc="left", fontsize=8, pad=2, parse_math=False)
    return figure
