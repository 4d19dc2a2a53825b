"""Omniglot's files: its table of characters, and the drawings in a zip or a folder. Letters: M drawings."""

import functools
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ._files import open_tree
from ._images import open_image

DRAWINGS = 20  # of each character


class Character(NamedTuple):
    """A class: its half of the data set, its part of the Vinyals split, and ``alphabet/characterNN``."""

    half: str
    split: str
    name: str


@functools.cache
def read_characters() -> tuple[Character, ...]:
    """List all characters in the order of the prepared file, from the table that comes with the package."""
    text = importlib.resources.files("jaxmeta.datasets").joinpath("omniglot_split.txt").read_text("utf-8")
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        Character(half, split, f"{alphabet}/character{number:02d}")
        for half, split, alphabet, first, last in rows
        for number in range(int(first), int(last) + 1)
    )


def read_drawings(sources: Mapping[str, Path], characters: Sequence[Character], size: int, resize: str) -> np.ndarray:
    """Read uint8 ``[M, size, size, 1]`` in the order of `characters`, from half -> zip or folder."""
    images: list[np.ndarray] = []
    for half, path in sources.items():
        expected = [c.name for c in characters if c.half == half]
        with open_tree(path, "data_dir") as tree:
            drawings = _group(tree.names, f"images_{half}/" if path.is_file() else "", path)
            _check_counts(drawings, expected, path)
            for file in (file for character in expected for file in drawings[character]):
                images.append(_drawing(tree.read(file), f"`data_dir`: {file!r} in {str(path)!r}", size, resize))
    return np.stack(images)[..., None]


def _group(names: Sequence[str], prefix: str, path: Path) -> dict[str, list[str]]:
    """Map ``alphabet/characterNN`` to its files."""
    drawings: dict[str, list[str]] = {}
    for name in names:
        parts = PurePosixPath(name.removeprefix(prefix)).parts
        if name.endswith("/"):
            continue
        if not name.startswith(prefix) or len(parts) != 3 or not name.lower().endswith(".png"):
            raise ValueError(
                f"`data_dir`: {name!r} in {str(path)!r} is no drawing: expected "
                f"{prefix}<Alphabet>/characterNN/*.png. Remove it, or fetch the official files again."
            )
        drawings.setdefault(f"{parts[0]}/{parts[1]}", []).append(name)
    return drawings


def _check_counts(drawings: Mapping[str, Sequence[str]], expected: Sequence[str], path: Path) -> None:
    missing = [name for name in expected if name not in drawings]
    extra = sorted(set(drawings) - set(expected))
    if missing or extra:
        odd = f"missing {', '.join(missing[:3])}" if missing else f"unknown {', '.join(extra[:3])}"
        raise ValueError(
            f"`data_dir`: {str(path)!r} holds {len(drawings)} characters, expected {len(expected)} ({odd} "
            "...). Fetch the official file again."
        )
    for name, files in drawings.items():
        if len(files) != DRAWINGS:
            raise ValueError(
                f"`data_dir`: {name} in {str(path)!r} has {len(files)} drawings, expected {DRAWINGS}. "
                "Fetch the official file again."
            )


def _drawing(data: bytes, where: str, size: int, resize: str) -> np.ndarray:
    """Decode a drawing to uint8 ``[size, size]``, ink 255."""
    from PIL import Image

    image = open_image(data, where, max_pixels=1024 * 1024)
    if resize == "nearest":
        image = image.convert("1", dither=Image.Dither.NONE).resize((size, size), Image.Resampling.NEAREST)
    else:
        image = image.convert("L").resize((size, size), Image.Resampling.LANCZOS)
    return 255 - np.asarray(image.convert("L"))
