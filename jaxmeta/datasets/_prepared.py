"""Keep decoded images in the cache folder while the files they were made of stay the same. Letters: M images."""

import hashlib
import json
import math
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.storage import write_whole

from ._files import cache_dir

NOTES = 1 << 26  # bytes of a prepared file beside its images, at most
_FORMAT = 1  # of a prepared file


class Images(NamedTuple):
    """A description of decoded images.

    Attributes:
      about: the files that the images are made of, see `identity`, and the options of decoding, as JSON values.
      names: of the classes.
      shape: ``[M, h, w, c]``.
    """

    about: Mapping[str, Any]
    names: Sequence[str]
    shape: Sequence[int]


def prepared(path: Path, images: Images, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Read the images that an earlier call kept in a file, if they are the same; else make them and keep them there."""
    x = load(path, images)
    if x is None:
        x = make()
        note = np.array(json.dumps({"format": _FORMAT, **images.about}))
        try:
            write_whole(path, lambda file: np.savez(file, x=x, names=np.array(images.names), about=note))
        except OSError as error:  # what was read is as good without
            warnings.warn(f"{path.stem} was read, but not kept in the cache: {error}. Set JAXMETA_CACHE.", stacklevel=4)
    return x


def load(path: Path, images: Images) -> np.ndarray | None:
    """Read the images in a prepared file; None if it is missing, damaged, or holds others."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > math.prod(images.shape) + NOTES:
            return None
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            note = json.loads(str(file["about"]))
            if any(note.get(name) != value for name, value in {"format": _FORMAT, **images.about}.items()):
                return None
            x, names = file["x"], file["names"].tolist()
    except Exception:  # whatever is wrong with it, it is made again from the sources
        return None
    return x if x.dtype == np.uint8 and x.shape == tuple(images.shape) and names == list(images.names) else None


def place(name: str, source: Path) -> Path:
    """Return the file that keeps images of a source, one for each name; a source that changes gets no second one."""
    return cache_dir() / "prepared" / f"{name}-{_digest([str(source.resolve())])[:8]}.npz"


def identity(source: Path, files: Iterable[str] = ()) -> list[str]:
    """Identify the state of a folder or zip: its path, and names, sizes and times of change of all its files.

    Args:
      source: the folder or zip.
      files: the files that are read, in their order.
    """
    present = [source] if source.is_file() else sorted(file for file in source.rglob("*") if file.is_file())
    stats = ((file, file.stat()) for file in present)
    lines = (f"{os.path.relpath(file, source)} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)
    return [str(source.resolve()), _digest(lines), _digest(files)]


def _digest(lines: Iterable[str]) -> str:
    made = hashlib.sha256()
    for line in lines:
        made.update(line.encode(errors="surrogateescape") + b"\n")  # names of files need not be text
    return made.hexdigest()
