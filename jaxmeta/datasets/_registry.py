"""The table of data sets: name -> how it is read and fetched. A new data set is one file and one row."""

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jaxmeta.types import ClassSet

from ._class_splits import ClassSplit, read_part
from ._files import local_path
from ._grocery import fetch_grocery, grocery
from ._intents import banking77, clinc150, fetch_intents
from ._omniglot import fetch_omniglot, omniglot
from ._published import SETS, fetch_published, published_split
from ._tfds import from_tfds, prepare


class DataSet(NamedTuple):
    """A row of the table.

    Attributes:
      read: ``(split, *, data_dir, download) -> ClassSet``; it also takes ``size`` in pixels, where it reads images.
      fetch: ``data_dir -> folder``: download what is missing, or raise a ValueError that says how to get it.
      is_text: whether the examples are token ids.
    """

    read: Callable[..., ClassSet]
    fetch: Callable[[str | os.PathLike[str] | None], str]
    is_text: bool = False


DATASETS: dict[str, DataSet] = {
    "omniglot": DataSet(omniglot, fetch_omniglot),
    "grocery": DataSet(grocery, fetch_grocery),
    "clinc150": DataSet(clinc150, partial(fetch_intents, "clinc150"), is_text=True),
    "banking77": DataSet(banking77, partial(fetch_intents, "banking77"), is_text=True),
    **{name: DataSet(partial(published_split, name), partial(fetch_published, name)) for name in SETS},
}
FOLDER_SIZE = 84  # pixels, to which the images of a folder are resized by default


def load(
    name: str | os.PathLike[str],
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    size: int | tuple[int, int] | None = None,
    class_split: ClassSplit = ClassSplit(),  # noqa: B008 (immutable)
) -> ClassSet:
    """Read a split of a data set by its name: of this library, of TFDS, or a folder or zip of your own.

    Args:
      name: ``"omniglot"``, ``"grocery"``, a name of `published_split` (``"cifar_fs"``, ``"fc100"``,
        ``"miniimagenet"``, ``"tieredimagenet"``, ``"cub"``); ``"clinc150"`` or ``"banking77"``, texts;
        ``"folder"``, for the folder or zip of images at `data_dir`; a path of one; or a data set of TFDS that has
        images and labels.
      split: ``"train"``, ``"val"`` or ``"test"``; other data sets may have more, see `omniglot`; of TFDS its own
        notation, such as ``"train[:80%]"``.
      data_dir: where the data is; by default ``$JAXMETA_DATA_DIR/<name>``, then ``<name>`` in the cache folder. For
        TFDS its own folder.
      download: fetch what is missing, where a program may.
      size: pixels, one number or ``(height, width)``; by default the data set's own, 84 for folders.
      class_split: for folders and zips, how classes are split, which may be shared, and which are left out.

    Returns:
      A `ClassSet`.

    Raises:
      ValueError: if the name or split is unknown; if there is no data, or it is damaged or incomplete.
      OSError: if a download fails.

    Example:
      >>> import pathlib, tempfile
      >>> from PIL import Image
      >>> from jaxmeta import datasets
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for name in ("train/cat", "test/dog"):
      ...         (pathlib.Path(folder) / name).mkdir(parents=True)
      ...         Image.new("RGB", (6, 4)).save(f"{folder}/{name}/1.png")
      ...     data = datasets.load(folder, "test")
      >>> data.names, data.x.shape
      (('dog',), (1, 84, 84, 3))
    """
    if name in DATASETS:
        read = DATASETS[str(name)].read
        if size is None:
            return read(split, data_dir=data_dir, download=download)
        if DATASETS[str(name)].is_text:
            raise ValueError(f"`size` is in pixels, and {name} has texts. Leave it out; `length` is in tokens.")
        return read(split, data_dir=data_dir, download=download, size=size)
    path = folder_path(name, data_dir)
    if path is None:
        return _of_tfds(str(name), split, data_dir, size, download)
    if download:
        raise ValueError("`download` is for data sets that a program may fetch, not for a folder of your own.")
    if split not in ("train", "val", "test"):
        raise ValueError(f"`split` is {split!r}, but a folder or zip has 'train', 'val' and 'test'.")
    return read_part(path, "name" if data_dir is None else "data_dir", split, class_split, size or FOLDER_SIZE)


def fetch(name: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Download what is missing of a data set, and return its folder.

    Args:
      name: a name of the table, or a data set of TFDS.
      data_dir: where it goes; by default the cache folder, or TFDS's own.
    """
    return DATASETS[name].fetch(data_dir) if name in DATASETS else prepare(name, data_dir)


def folder_path(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder or zip that a name stands for, or None for the name of a data set.

    Raises:
      ValueError: if the name is a path where nothing is, or ``"folder"`` without a `data_dir`.

    Example:
      >>> folder_path("mnist"), folder_path("folder", "photos")
      (None, PosixPath('photos'))
    """
    if name == "folder":
        if data_dir is None:
            raise ValueError(
                "`data_dir` is None, and the photographs are your own: pass a folder or zip with a folder of images "
                "per class. Without any, try `--dataset grocery`."
            )
        return local_path(data_dir, "data_dir")
    text = os.fspath(name)
    path = local_path(name, "name")
    if name in DATASETS or not (path.exists() or _is_path(text)):
        return None
    if data_dir is not None:
        raise ValueError(f"`data_dir` is for data sets by name, and {text!r} is a path. Leave it out.")
    if not path.exists():
        raise ValueError(f"`name`: {text!r} does not exist. Check the path.")
    return path


def _is_path(text: str) -> bool:
    """Return whether a name is a path even if there is no file: ``mnist:3.0.1`` is not, ``photos.zip`` is."""
    return ":" not in text and not {"/", "\\", "."}.isdisjoint(text)


def _of_tfds(
    name: str,
    split: str,
    data_dir: str | os.PathLike[str] | None,
    size: int | tuple[int, int] | None,
    download: bool,
) -> ClassSet:
    try:
        return from_tfds(name, split, data_dir=data_dir, size=size, download=download)
    except ValueError as error:
        near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.75)
        if not near or not str(error).startswith("`name`"):
            raise
        raise ValueError(f"{error} Of this library's own names, {near[0]!r} is near.") from error
