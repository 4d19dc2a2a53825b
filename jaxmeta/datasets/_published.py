"""CIFAR-FS, FC100, miniImageNet, tieredImageNet and CUB by their published splits, from your files or from TFDS."""

import csv
import difflib
import functools
import importlib.resources
import io
import json
import os
from collections.abc import Collection, Container, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jaxmeta.types import ClassSet

from ._arrays import pick
from ._files import local_path, open_tree, places
from ._folder import read_classes
from ._images import is_image
from ._tfds import from_tfds, prepare

SPLITS = ("train", "val", "test")


class _Set(NamedTuple):
    """The default size of its images in pixels, and its name in TFDS if it is there."""

    size: int
    tfds: str | None = None


SETS = {
    "cifar_fs": _Set(32, "cifar100"),
    "fc100": _Set(32, "cifar100"),
    "miniimagenet": _Set(84),
    "tieredimagenet": _Set(84),
    "cub": _Set(84, "caltech_birds2011"),
}
TIERED = {"train": 351, "val": 97, "test": 160}  # classes, which are known by the folder they are in


def published_split(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    size: int | tuple[int, int] | None = None,
    download: bool = False,
) -> ClassSet:
    """Read the classes that papers train, validate or test on.

    ``"cifar_fs"`` (Bertinetto et al., 2019, https://arxiv.org/abs/1805.08136), ``"fc100"`` (Oreshkin et al., 2018,
    https://arxiv.org/abs/1805.10123), ``"miniimagenet"`` (Ravi and Larochelle's classes, 2017), ``"tieredimagenet"``
    (Ren et al., 2018, https://arxiv.org/abs/1803.00676) and ``"cub"`` (Chen et al., 2019,
    https://arxiv.org/abs/1904.04232).

    The first call keeps the decoded images in the cache folder (``JAXMETA_CACHE``, else ``~/.cache/jaxmeta``), one
    file for each split and size. Later calls read it while the folder or zip is unchanged.

    Args:
      name: one of these names.
      split: ``"train"``, ``"val"`` or ``"test"``.
      data_dir: a folder or zip of class folders, at any depth; other files are not read. Folders are named after the
        classes: ``apple``, ``n01532829``, ``001.Black_footed_Albatross``. The images of miniImageNet may also be in one
        folder. Their classes are then read from the files ``train.csv``, ``val.csv`` and ``test.csv``, or, without
        these, from the first nine letters of the images' names. tieredImageNet has its class folders in ``train``,
        ``val`` and ``test``. By default ``$JAXMETA_DATA_DIR/<name>``, then ``<name>`` in the cache folder. For
        ``"cifar_fs"``, ``"fc100"`` and ``"cub"`` a folder of data prepared by TFDS will do, by default TFDS's own.
      size: pixels, one number or ``(height, width)``: images are resized to it. By default 32 for the first two, 84
        for the others.
      download: let TFDS fetch and prepare the data, for those three.

    Returns:
      A `ClassSet`, `x` uint8 ``[M, h, w, 3]``.

    Raises:
      ValueError: if the name or split is unknown; if there is no data, or classes are missing; if a file is damaged.

    Example:
      >>> from jaxmeta import datasets
      >>> test = datasets.published_split("cifar_fs", "test", download=True)  # doctest: +SKIP
      >>> test.x.shape, len(test.names)  # doctest: +SKIP
      ((12000, 32, 32, 3), 20)
      >>> datasets.published_split("cifar-fs", "test")
      Traceback (most recent call last):
      ValueError: `name` is 'cifar-fs'; did you mean 'cifar_fs'? ...
    """
    _check("name", name, SETS)
    _check("split", split, SPLITS)
    about = SETS[name]
    size = about.size if size is None else size
    if about.tfds is not None and (download or _is_prepared(about.tfds, name, data_dir)):
        data = from_tfds(about.tfds, "train+test", data_dir=data_dir, size=size, download=download)
        return _named(data, name, split)
    if download:
        fetch_published(name, data_dir)  # which refuses
    path = _find(name, data_dir)

    def chosen(names: Sequence[str]) -> dict[str, list[str]]:
        return _classes(names, name, split, path)

    return read_classes(path, "data_dir", chosen, size, keep=f"{name}-{split}")


@functools.cache
def class_names(name: str) -> dict[str, tuple[str, ...]]:
    """Map each split to its classes, from the lists that come with the package."""
    text = importlib.resources.files("jaxmeta.datasets").joinpath("splits", f"{name}.json").read_text("utf-8")
    return {split: tuple(names) for split, names in json.loads(text).items()}


def fetch_published(name: str, data_dir: str | os.PathLike[str] | None) -> str:
    """Let TFDS download and prepare the images of a published split, and return their folder."""
    tfds = SETS[name].tfds
    if tfds is None:
        raise ValueError(f"`download`: {name} may not be fetched by a program. Ask its owners, and pass `data_dir`.")
    return prepare(tfds, data_dir)


def _check(argument: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"`{argument}` is {value!r}; {hint}Choose one of {', '.join(known)}.")


def _is_prepared(tfds: str, name: str, data_dir: str | os.PathLike[str] | None) -> bool:
    """Return whether to read what TFDS prepared: it is below ``data_dir``, or there is no other place."""
    if data_dir is not None:
        return any(local_path(data_dir, "data_dir").glob(f"{tfds}/*/dataset_info.json"))
    return not any(place.exists() for place in places(name, None))


def _named(data: ClassSet, name: str, split: str) -> ClassSet:
    """Pick the split's classes; TFDS numbers CUB's from 0 and has no names for them."""
    names = class_names(name)[split]
    theirs = tuple(str(int(n[:3]) - 1) for n in names) if name == "cub" else names
    _check_present(set(data.names), theirs, f"{name} as TFDS prepared it")
    return pick(data, theirs)._replace(names=names)


def _find(name: str, data_dir: str | os.PathLike[str] | None) -> Path:
    """Find the folder or zip with the images."""
    looked = places(name, data_dir)
    for place in looked:
        if place.exists():
            return place
    others = "" if SETS[name].tfds is None else ", or pass `download=True` to let TFDS fetch it"
    raise ValueError(
        f"`data_dir` is {None if data_dir is None else str(data_dir)!r}, and {name} is not in "
        f"{' and '.join(repr(str(place)) for place in looked)}. Pass a folder or zip of its class folders{others}."
    )


def _classes(names: Sequence[str], name: str, split: str, path: Path) -> dict[str, list[str]]:
    """Map each class to its files."""
    files = [PurePosixPath(file) for file in names if is_image(file)]
    if name == "tieredimagenet":
        return _by_folder(files, split, path)
    wanted = class_names(name)[split]
    classes: dict[str, list[str]] = {c: [] for c in wanted}
    listed = _listed(names, split, path) if name == "miniimagenet" else None
    for file in files:
        its = file.parent.name
        if name == "miniimagenet":
            its = listed.get(file.name, "") if listed is not None else its if its in classes else file.name[:9]
        if its in classes:
            classes[its].append(str(file))
    _check_present({c for c, members in classes.items() if members}, wanted, repr(str(path)))
    if listed is not None and (lost := len(listed) - sum(map(len, classes.values()))):
        raise ValueError(f"`data_dir`: {split}.csv in {str(path)!r} names {lost} images that are not there, or twice.")
    return classes


def _by_folder(files: Iterable[PurePosixPath], split: str, path: Path) -> dict[str, list[str]]:
    """Map the classes of tieredImageNet, in the folder of the split, to their files; their number is known."""
    classes: dict[str, list[str]] = {}
    for file in files:
        if split in file.parts[:-2]:
            classes.setdefault(file.parent.name, []).append(str(file))
    if len(classes) != TIERED[split]:
        raise ValueError(
            f"`data_dir`: {str(path)!r} has {len(classes)} class folders in {split!r}, but tieredImageNet has "
            f"{TIERED[split]}. Pass the folder that holds train, val and test, complete."
        )
    return dict(sorted(classes.items()))


def _listed(names: Iterable[str], split: str, path: Path) -> dict[str, str] | None:
    """Map file names to classes as the split's csv does, if there is one."""
    file = next((name for name in names if PurePosixPath(name).name == f"{split}.csv"), None)
    if file is None:
        return None
    with open_tree(path, "data_dir") as tree:
        text = tree.read(file).decode("utf-8", "replace")
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error:
        rows = []
    if not rows or rows[0] != ["filename", "label"] or any(len(row) != 2 for row in rows):
        raise ValueError(
            f"`data_dir`: {file!r} in {str(path)!r} is not a list of images with the columns filename,label. "
            "Fetch it again, or remove it: class folders will do."
        )
    return {file: label for file, label in rows[1:]}


def _check_present(there: Container[str], wanted: Sequence[str], where: str) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ValueError(
            f"`data_dir`: {where} has {len(wanted) - len(missing)} of the {len(wanted)} classes that are wanted; "
            f"missing: {', '.join(missing[:5])}{more}. A class is a folder of that name with images in it."
        )
