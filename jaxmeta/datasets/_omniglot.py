"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn once by 20 people.

Lake, Salakhutdinov and Tenenbaum, 2015, https://github.com/brendenlake/omniglot
"""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxmeta.types import ClassSet

from ._arrays import class_set
from ._download import download as fetch
from ._files import cache_dir, places
from ._omniglot_files import DRAWINGS, Character, read_characters, read_drawings
from ._prepared import Images, identity, load, prepared

URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
SHA256 = {  # of the official files, as tensorflow-datasets records them
    "images_background.zip": "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
    "images_evaluation.zip": "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
}
SPLITS = ("train", "val", "test", "trainval", "background", "evaluation", "all")
_HALVES = ("background", "evaluation")


def omniglot(
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    size: int = 28,
    resize: Literal["antialias", "nearest"] = "antialias",
    download: bool = False,
) -> ClassSet:
    """Read Omniglot as a `ClassSet`, ink 255 on paper 0.

    The first call reads all drawings (some seconds) and keeps a prepared file in the cache folder
    (``JAXMETA_CACHE``, else ``~/.cache/jaxmeta``). Later calls read it while the sources are unchanged.

    Args:
      split: ``"train"`` (1,028 characters), ``"val"`` (172) and ``"test"`` (423) of Vinyals et al. 2016, or
        ``"trainval"`` (1,200); the authors' own ``"background"`` (964) and ``"evaluation"`` (659); ``"all"``
        (1,623).
      data_dir: a folder with ``images_background.zip`` and ``images_evaluation.zip``, with the folders
        ``images_background`` and ``images_evaluation``, or with a prepared file; or a prepared file itself.
        By default ``$JAXMETA_DATA_DIR/omniglot``, then ``omniglot`` in the cache folder.
      size: height and width in pixels; the originals have 105.
      resize: ``"antialias"`` makes the 1-bit drawings grey, then filters (Lanczos); ``"nearest"`` picks
        single pixels and keeps them 0 or 255, as published code did that resized the 1-bit images with
        Pillow.
      download: fetch missing zips from the authors' repository (16 MB), to `data_dir` or else the cache
        folder.

    Returns:
      A `ClassSet`: `x` uint8 ``[M, size, size, 1]``, 20 drawings of each character, in the drawers' order;
      names such as ``"Greek/character01"``.

    Raises:
      ValueError: if the split is unknown; if there is no data, or characters or drawings are missing; if a zip is
        truncated.
      OSError: if a download fails.

    Example:
      >>> from jaxmeta import datasets
      >>> train = datasets.omniglot("train", data_dir="data/omniglot")  # doctest: +SKIP
      >>> train.x.shape, len(train.names)  # doctest: +SKIP
      ((20560, 28, 28, 1), 1028)
      >>> datasets.omniglot("valid")
      Traceback (most recent call last):
      ValueError: `split` is 'valid', which Omniglot does not have; did you mean 'val'? ...
    """
    _check_arguments(split, size, resize)
    characters = read_characters()
    x = _find(data_dir, size, resize, download, characters)
    wanted = ("train", "val") if split == "trainval" else (split,)
    chosen = [i for i, c in enumerate(characters) if split == "all" or c.half in wanted or c.split in wanted]
    x = x.reshape(len(characters), DRAWINGS, size, size, 1)[chosen].reshape(-1, size, size, 1)
    return class_set(x, [DRAWINGS] * len(chosen), [characters[i].name for i in chosen])


def _check_arguments(split: str, size: int, resize: str) -> None:
    if split not in SPLITS:
        near = difflib.get_close_matches(str(split), SPLITS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"`split` is {split!r}, which Omniglot does not have; {hint}Choose one of {', '.join(SPLITS)}."
        )
    if type(size) is not int or not 1 <= size <= 420:
        raise ValueError(f"`size` must be from 1 to 420 pixels (the originals have 105), got {size!r}.")
    if resize not in ("antialias", "nearest"):
        raise ValueError(f"`resize` must be 'antialias' or 'nearest', got {resize!r}.")


def fetch_omniglot(data_dir: str | os.PathLike[str] | None) -> str:
    """Download the zips that are missing, and return the folder where the data is."""
    looked = places("omniglot", data_dir)
    for place in looked:
        if len(_sources(place)) == len(_HALVES):
            return str(place)
    for half in _HALVES:
        if half not in _sources(looked[-1]):
            name = f"images_{half}.zip"
            fetch(URL + name, looked[-1] / name, sha256=SHA256.get(name))
    return str(looked[-1])


def _find(
    data_dir: str | os.PathLike[str] | None, size: int, resize: str, download: bool, characters: Sequence[Character]
) -> np.ndarray:
    """Read all drawings, from the first place that has them."""
    if download:
        fetch_omniglot(data_dir)
    looked = places("omniglot", data_dir)
    for place in looked:
        sources = _sources(place)
        if len(sources) == len(_HALVES):
            wanted = _wanted(size, resize, characters, sources=[identity(path) for path in sources.values()])
            kept = cache_dir() / "omniglot" / _prepared_name(size, resize)
            return prepared(kept, wanted, lambda sources=sources: read_drawings(sources, characters, size, resize))
        file = place if place.is_file() else place / _prepared_name(size, resize)
        if file.is_file():
            x = load(file, _wanted(size, resize, characters))
            if x is not None:
                return x
            raise ValueError(
                f"`data_dir`: {str(file)!r} is not a prepared Omniglot of size={size} and "
                f"resize={resize!r}, or is damaged. Remove it, and pass the folder with the two zips."
            )
    raise ValueError(_no_data(data_dir, looked))


def _sources(place: Path) -> dict[str, Path]:
    """Map each half that is in `place` to its zip or folder."""
    found: dict[str, Path] = {}
    for half in _HALVES:
        for path in (place / f"images_{half}.zip", place / f"images_{half}"):
            if path.exists():
                found.setdefault(half, path)
    return found


def _no_data(data_dir: str | os.PathLike[str] | None, places: Sequence[Path]) -> str:
    looked = " and ".join(repr(str(place)) for place in places)
    partial = [path.name for place in places for path in _sources(place).values()]
    return (
        f"`data_dir` is {None if data_dir is None else str(data_dir)!r}, and Omniglot is not in {looked}"
        + (f" (only {', '.join(partial)} is there; both halves are needed)" if partial else "")
        + f". Put images_background.zip and images_evaluation.zip there (from {URL}), or pass "
        "`download=True` to fetch them (16 MB)."
    )


def _wanted(size: int, resize: str, characters: Sequence[Character], **more: Any) -> Images:
    """Describe a prepared file: all drawings, in the order of the characters."""
    shape = (len(characters) * DRAWINGS, size, size, 1)
    return Images({"size": size, "resize": resize, **more}, [c.name for c in characters], shape)


def _prepared_name(size: int, resize: str) -> str:
    return f"omniglot-{size}-{resize}.npz"
