"""Which classes train and which are held out: as the folders say, or, where they say nothing, by the classes' names."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from jaxmeta.types import ClassSet

from ._files import open_tree
from ._folder import classes_below, read_classes

PARTS = ("train", "val", "test")


class Split(NamedTuple):
    """How classes are split that nobody has put into parts.

    Attributes:
      held_out: part of the classes that is tested on.
      num_ways: classes of a held-out task; no fewer are held out.
      num_train_ways: of a training task; no fewer are left.
      validates: whether as many again are validated on.
    """

    held_out: float = 0.2
    num_ways: int = 5
    num_train_ways: int = 5
    validates: bool = False


def read_part(path: Path, argument: str, part: str, split: Split, size: int | tuple[int, int] | None) -> ClassSet:
    """The classes of a part of a folder or zip, by its folders train, val and test, or else split by name.

    Args:
      path: the folder or zip.
      argument: the caller's argument that named it, for errors.
      part: ``"train"``, ``"val"`` or ``"test"``.
      split: for classes that are in no such folder.
      size: as for `from_folder`.
    """

    def chosen(names: list[str]) -> dict[str, list[str]]:
        if are_parted(_folders(names)):
            return classes_below(names, part, str(path), argument)
        every = classes_below(names, "", str(path), argument)
        return {name: every[name] for name in sorted(split_by_name(every, split, f"`{argument}`: {str(path)!r}")[part])}

    return read_classes(path, argument, chosen, size)


def explain(path: Path, argument: str, split: Split) -> str:
    """Which classes are held out, in words, where the folders do not say it; nothing where they do."""
    with open_tree(path, argument) as (names, _):
        if are_parted(_folders(names)):
            return ""
        every = classes_below(names, "", str(path), argument)
    parts = split_by_name(every, split, f"`{argument}`: {str(path)!r}")
    said = [f"to test on {', '.join(sorted(parts['test']))}"]
    said += [f"to validate on {', '.join(sorted(parts['val']))}"] * bool(parts["val"])
    return f"of {len(every)} classes {len(every) - len(parts['train'])} are held out, {'; '.join(said)}"


def are_parted(classes: Iterable[str]) -> bool:
    """Whether folders named train, val or test are there: then these say what is held out.

    Example:
      >>> are_parted(["train/cat", "test/dog"]), are_parted(["pets/cat", "pets/dog"])
      (True, False)
    """
    return any(name.split("/")[0] in PARTS or not set(PARTS).isdisjoint(name.split("/")[:-1]) for name in classes)


def split_by_name(classes: Iterable[str], split: Split, where: str) -> dict[str, list[str]]:
    """Part -> its classes, in an order that hashes of their names make: the first are tested on.

    Raises:
      ValueError: if ``held_out`` is not between 0 and 1, or too few classes are left to train on; ``where`` begins it.

    Example:
      >>> parts = split_by_name("ant bee cat dog eel fox".split(), Split(0.2, 2, 4), "`data_dir`")
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


def _folders(names: Iterable[str]) -> set[str]:
    """Those that hold files."""
    return {name.rpartition("/")[0] for name in names if not name.endswith("/")}
