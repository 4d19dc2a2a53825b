"""Split classes into those to train and to hold out: by folders train, val and test, or else by their names."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxmeta.types import ClassSet
from jaxmeta.validation import shared_names

from ._files import open_tree
from ._folder import classes_below, drop_small, holding_folders, read_classes

PARTS = ("train", "val", "test")
SPELLINGS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
MOST = 5  # classes that an error names


class ClassSplit(NamedTuple):
    """Rules by which the classes of a folder or zip are split into those to train, to validate and to test on.

    Folders named train, val and test (or Train, training, validation, testing ...) decide, if there are any. The
    first four attributes are for classes that are in no such folder: a hash of the names decides, so that the split
    does not depend on the images.

    Attributes:
      held_out: the fraction of the classes to test on.
      num_ways: classes of a held-out task. At least this many classes are held out.
      num_train_ways: classes of a training task. At least this many classes are left to train on.
      validates: whether to hold out as many classes again to validate on, and whether a folder val is read.
      allow_shared_classes: accept classes that are both trained and tested on. Accuracy on them is no measure of how
        well new classes are learned.
      min_images: leave out classes with fewer images.
    """

    held_out: float = 0.2
    num_ways: int = 5
    num_train_ways: int = 5
    validates: bool = False
    allow_shared_classes: bool = False
    min_images: int = 1


class SplitClasses(NamedTuple):
    """The classes of a folder or zip, split.

    Attributes:
      files: part -> class -> its files.
      by_folder: whether folders decided.
      notes: sentences on the split that a person should read.
    """

    files: dict[str, dict[str, list[str]]]
    by_folder: bool
    notes: list[str]


def read_part(path: Path, argument: str, part: str, split: ClassSplit, size: int | tuple[int, int] | None) -> ClassSet:
    """Read the classes of one part of a folder or zip.

    Args:
      path: the folder or zip.
      argument: the caller's argument that named it, for errors.
      part: ``"train"``, ``"val"`` or ``"test"``.
      split: how the classes are split.
      size: as for `from_folder`.

    Raises:
      ValueError: as `from_folder`; if the part has no classes, or shares classes with another part.
    """

    def chosen(names: Sequence[str]) -> dict[str, list[str]]:
        where = f"`{argument}`: {str(path)!r}"
        folders = find_parts(names, where)
        found = split_classes(
            names, split._replace(validates=True) if part == "val" and part in folders else split, path, argument
        )
        if found.files.get(part):
            return found.files[part]
        if found.by_folder:
            there = " and ".join(repr(folder) for folder in folders.values())
            raise ValueError(f"{where} has {there}, but no folder {part!r} beside it. Expected {part}/class/*.jpg.")
        raise ValueError(f"{where} holds out no classes for {part!r}: pass `class_split=ClassSplit(validates=True)`.")

    return read_classes(path, argument, chosen, size)


def explain(path: Path, argument: str, split: ClassSplit) -> str:
    """Return what a person should know of the split before training: classes held out by name, folders not used."""
    with open_tree(path, argument) as tree:
        return "; ".join(split_classes(tree.names, split, path, argument).notes)


def split_classes(names: Sequence[str], split: ClassSplit, path: Path, argument: str) -> SplitClasses:
    """Split the names in a folder or zip into parts and classes.

    Raises:
      ValueError: if the folders contradict each other, or parts share classes; if too few classes are left.
    """
    where = f"`{argument}`: {str(path)!r}"
    folders = find_parts(names, where)
    if not folders:
        return _without_folders(names, split, path, argument)
    used = [part for part in folders if part != "val" or split.validates]
    files: dict[str, dict[str, list[str]]] = {}
    notes: list[str] = []
    for part in used:
        found = classes_below(names, folders[part], str(path), argument)
        files[part], small = drop_small(found, split.min_images, f"{where}, folder {folders[part]!r}")
        notes += small
    shared = check_shared(files, where, allow=split.allow_shared_classes)
    return SplitClasses(files, True, notes + shared + _unused(names, folders, used))


def find_parts(names: Sequence[str], where: str = "") -> dict[str, str]:
    """Map each of train, val and test to its folder; empty if there are no such folders.

    Folders that enclose everything are passed over. A folder that itself holds images is a class, whatever its name.

    Args:
      names: the files and folders of a folder or zip; a folder's name ends in ``/``.
      where: begins errors.

    Raises:
      ValueError: if two folders stand for one part, or if such folders are inside class folders.

    Example:
      >>> find_parts(["pets/Train/cat/1.png", "pets/testing/dog/1.png"])
      {'train': 'pets/Train', 'test': 'pets/testing'}
      >>> find_parts(["train/1.png", "bus/1.png"])
      {}
    """
    holding = holding_folders(names)
    top = _enclosing(holding)
    first: dict[str, bool] = {}  # folder directly below `top` -> whether all its images are in further folders
    for folder in holding:
        for name in folder[len(top) : len(top) + 1]:
            first[name] = first.get(name, True) and len(folder) > len(top) + 1
    named = [name for name in first if name.lower() in SPELLINGS]
    if len(named) < len(first):
        named = [name for name in named if first[name]]
    folders: dict[str, str] = {}
    for name in sorted(named):
        part, folder = SPELLINGS[name.lower()], "/".join((*top, name))
        if part in folders:
            raise ValueError(f"{where} has two folders for {part!r}: {folders[part]!r} and {folder!r}. Keep one.")
        folders[part] = folder
    if not folders:
        _check_not_inside(holding, where)
    return {part: folders[part] for part in PARTS if part in folders}


def split_by_name(classes: Iterable[str], split: ClassSplit, where: str) -> dict[str, list[str]]:
    """Map each part to its classes, in an order given by hashes of their names: the first are tested on.

    Raises:
      ValueError: if ``held_out`` is not between 0 and 1, or too few classes are left to train on; ``where`` begins it.

    Example:
      >>> parts = split_by_name("ant bee cat dog eel fox".split(), ClassSplit(0.2, 2, 4), "`data_dir`")
      >>> parts["test"], len(parts["train"])
      (['bee', 'ant'], 4)
    """
    if not 0 < split.held_out < 1:
        raise ValueError(f"`held_out`, the part of the classes to test on, must be between 0 and 1, got {split[0]}.")
    order = sorted(classes, key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())
    count = max(round(split.held_out * len(order)), split.num_ways)
    ends = count, count * (1 + split.validates)
    parts = {"test": order[: ends[0]], "val": order[ends[0] : ends[1]], "train": order[ends[1] :]}
    if len(parts["train"]) < split.num_train_ways:
        also = f" and {count} to validate on" if split.validates else ""
        raise ValueError(
            f"{where} has {len(order)} classes and no folders train and test. With {count} held out to test on{also}, "
            f"{len(parts['train'])} are left to train on, but a task of training has {split.num_train_ways}. Add more, "
            "hold out fewer (`held_out`), take fewer ways (`num_ways`), or make folders train and test yourself."
        )
    return parts


def check_shared(parts: Mapping[str, Iterable[str]], where: str, *, allow: bool = False) -> list[str]:
    """Refuse classes that are in two parts; return a sentence for each pair of parts if they are allowed.

    Names are compared as by `validation.shared_names`.

    Args:
      parts: part -> names of its classes.
      where: begins the error: the data in words.
      allow: return sentences in place of the error.

    Example:
      >>> check_shared({"train": ["cat", "dog"], "test": ["cat"]}, "photos", allow=True)
      ["1 of the 1 classes of 'test' is also in 'train' (cat)"]
    """
    names = {part: list(classes) for part, classes in parts.items()}
    notes: list[str] = []
    for first, second in (("train", "test"), ("train", "val"), ("val", "test")):
        shared = shared_names(names.get(first, []), names.get(second, []))
        if not shared:
            continue
        verb = "is" if len(shared) == 1 else "are"
        more = f" and {len(shared) - MOST} more" if len(shared) > MOST else ""
        said = f"{len(shared)} of the {len(names[second])} classes of {second!r} {verb} also in {first!r}"
        said += f" ({', '.join(shared[:MOST])}{more})"
        if not allow:
            raise ValueError(
                f"{where}: {said}. Accuracy on them is that of known classes and says nothing of new ones. Put "
                "different classes into the two, or put all classes into one folder and let `held_out` choose. To "
                "measure new images of known classes, pass `allow_shared_classes=True`."
            )
        notes.append(said)
    return notes


def _without_folders(names: Sequence[str], split: ClassSplit, path: Path, argument: str) -> SplitClasses:
    where = f"`{argument}`: {str(path)!r}"
    every, notes = drop_small(classes_below(names, "", str(path), argument), split.min_images, where)
    parts = split_by_name(every, split, where)
    said = [f"to test on {', '.join(sorted(parts['test']))}"]
    said += [f"to validate on {', '.join(sorted(parts['val']))}"] * bool(parts["val"])
    held_out = f"of {len(every)} classes {len(every) - len(parts['train'])} are held out, {'; '.join(said)}"
    files = {part: {name: every[name] for name in sorted(parts[part])} for part in PARTS}
    return SplitClasses(files, False, [held_out, *notes])


def _enclosing(holding: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the folders that enclose everything, down to the first that is a part or holds images."""
    top: tuple[str, ...] | None = None
    for folder in holding:
        parent = folder[:-1]
        length = 0
        for a, b in zip(parent if top is None else top, parent, strict=False):
            if a != b or a.lower() in SPELLINGS:
                break
            length += 1
        top = parent[:length]
    return top or ()


def _check_not_inside(holding: Iterable[tuple[str, ...]], where: str) -> None:
    """Refuse ``cat/train/1.jpg`` and ``cat/test/1.jpg``, and parts of which several stand deep inside."""
    inside: dict[tuple[str, ...], set[str]] = {}
    for folder in holding:
        for depth, name in enumerate(folder):
            if name.lower() in SPELLINGS:
                inside.setdefault(folder[:depth], set()).add(name)
    for parent, children in sorted(inside.items()):
        if len({SPELLINGS[name.lower()] for name in children}) > 1:
            within = f"inside {'/'.join(parent)!r}" if parent else "that hold images themselves, beside others"
            raise ValueError(
                f"{where} has folders {' and '.join(sorted(children))} {within}. Put folders train "
                "and test at the top, and class folders into them: train/class/*.jpg."
            )


def _unused(names: Iterable[str], folders: Mapping[str, str], used: Sequence[str]) -> list[str]:
    """Return a sentence on the folders of images beside the used ones, if there are any."""
    depth = next(iter(folders.values())).count("/") + 1
    beside = {"/".join(folder[:depth]) for folder in holding_folders(names)} - {folders[part] for part in used} - {""}
    return [f"not used: {', '.join(f'{folder}/' for folder in sorted(beside))}"] if beside else []
