"""CIFAR-FS, FC100, miniImageNet, tieredImageNet and CUB by their published splits, from files of one's own or TFDS."""

import csv
import difflib
import functools
import importlib.resources
import io
import json
import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jaxmeta.types import ClassSet

from ._arrays import pick
from ._files import MAX_BYTES, SUFFIXES, open_tree, places
from ._folder import read_classes
from ._tfds import from_tfds

SPLITS = ("train", "val", "test")


class _Set(NamedTuple):
    """How large its images are, and its name in TFDS if it is there."""

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
    data_dir: str | os.PathLike | None = None,
    size: int | tuple[int, int] | None = None,
    download: bool = False,
) -> ClassSet:
    """The classes that papers train, validate or test on.

    ``"cifar_fs"`` (Bertinetto et al., 2019, https://arxiv.org/abs/1805.08136), ``"fc100"`` (Oreshkin et al., 2018,
    https://arxiv.org/abs/1805.10123), ``"miniimagenet"`` (Ravi and Larochelle's classes, 2017), ``"tieredimagenet"``
    (Ren et al., 2018, https://arxiv.org/abs/1803.00676) and ``"cub"`` (Chen et al., 2019,
    https://arxiv.org/abs/1904.04232).

    What the first call decodes it leaves in the cache folder (``JAXMETA_CACHE``, else ``~/.cache/jaxmeta``), one file
    for each split and size, which later calls read while the folder or zip is unchanged.

    Args:
      name: one of these.
      split: ``"train"``, ``"val"`` or ``"test"``.
      data_dir: a folder or zip of class folders, at any depth; what else it holds is not read. Folders are named after
        the classes: ``apple``, ``n01532829``, ``001.Black_footed_Albatross``. miniImageNet's images may also lie
        together, their names beginning with the class, and beside the files ``train.csv``, ``val.csv`` and ``test.csv``
        are taken by these. tieredImageNet has its class folders in ``train``, ``val`` and ``test``. By default
        ``$JAXMETA_DATA_DIR/<name>``, then ``<name>`` in the cache folder. For ``"cifar_fs"``, ``"fc100"`` and ``"cub"``
        a folder of data prepared by TFDS will do, TFDS's own where none is given.
      size: pixels, one number or ``(height, width)``, to which images are resized: 32 by default for the first two, 84
        for the others.
      download: let TFDS fetch and prepare the data, for those three.

    Returns:
      A `ClassSet`, `x` uint8 ``[M, h, w, 3]``.

    Raises:
      ValueError: an unknown name or split; no data; classes that are missing from it, by name; a damaged file.

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
        raise ValueError(f"`download`: {name} may not be fetched by a program. Ask its owners, and pass `data_dir`.")
    path = _find(name, data_dir)
    pick_classes = lambda names: _classes(names, name, split, path)
    return read_classes(path, "data_dir", pick_classes, size, keep=f"{name}-{split}")


@functools.cache
def class_names(name: str) -> dict[str, tuple[str, ...]]:
    """Split -> its classes, from the lists that come with the package."""
    text = importlib.resources.files("jaxmeta.datasets").joinpath("splits", f"{name}.json").read_text("utf-8")
    return {split: tuple(names) for split, names in json.loads(text).items()}


def _check(argument: str, value: str, known) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"`{argument}` is {value!r}; {hint}Choose one of {', '.join(known)}.")


def _is_prepared(tfds: str, name: str, data_dir) -> bool:
    """Whether TFDS is to be asked: what it prepared is below ``data_dir``, or there is no other place."""
    if data_dir is not None:
        return any(Path(data_dir).expanduser().glob(f"{tfds}/*/dataset_info.json"))
    return not any(place.exists() for place in places(name, None))


def _named(data: ClassSet, name: str, split: str) -> ClassSet:
    """The split's classes; TFDS numbers CUB's from 0 and has no names for them."""
    names = class_names(name)[split]
    theirs = [str(int(n[:3]) - 1) for n in names] if name == "cub" else names
    _check_present(set(data.names), theirs, f"{name} as TFDS prepared it")
    return pick(data, theirs)._replace(names=names)


def _find(name: str, data_dir) -> Path:
    """The folder or zip with the images."""
    looked = places(name, data_dir)
    for place in looked:
        if place.exists():
            return place
    others = "" if SETS[name].tfds is None else ", or pass `download=True` to let TFDS fetch it"
    raise ValueError(
        f"`data_dir` is {None if data_dir is None else str(data_dir)!r}, and {name} is not in "
        f"{' and '.join(repr(str(place)) for place in looked)}. Pass a folder or zip of its class folders{others}."
    )


def _classes(names: list[str], name: str, split: str, path: Path) -> dict[str, list[str]]:
    """Class -> its files."""
    files = [PurePosixPath(file) for file in names if PurePosixPath(file).suffix.lower() in SUFFIXES]
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


def _by_folder(files: list[PurePosixPath], split: str, path: Path) -> dict[str, list[str]]:
    """tieredImageNet: the classes in the folder of the split, whose number is known."""
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


def _listed(names: list[str], split: str, path: Path) -> dict[str, str] | None:
    """File name -> class, as the split's csv says, if there is one."""
    found = [name for name in names if PurePosixPath(name).name == f"{split}.csv"]
    if not found:
        return None
    with open_tree(path, "data_dir") as (_, read):
        text = read(found[0])[:MAX_BYTES].decode("utf-8", "replace")
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or rows[0] != ["filename", "label"] or any(len(row) != 2 for row in rows):
        raise ValueError(
            f"`data_dir`: {found[0]!r} in {str(path)!r} is not a list of images with the columns filename,label. "
            "Fetch it again, or remove it: class folders will do."
        )
    return dict((file, label) for file, label in rows[1:])


def _check_present(found: set[str], wanted, where: str) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ValueError(
            f"`data_dir`: {where} has {len(wanted) - len(missing)} of the {len(wanted)} classes that are wanted; "
            f"missing: {', '.join(missing[:5])}{more}. A class is a folder of that name with images in it."
        )
