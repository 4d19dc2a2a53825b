"""Images by class, wherever they are: a folder or zip of one's own, or a data set by its name, image by image."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmeta import datasets
from jaxmeta.datasets._class_splits import PARTS, Split, are_parted, split_by_name
from jaxmeta.datasets._files import open_tree
from jaxmeta.datasets._folder import group, read_image
from jaxmeta.datasets._published import SETS
from jaxmeta.types import ClassSet

MAX_LETTERS = 60  # of a name that is shown


class Source(NamedTuple):
    """What there is.

    Attributes:
      parts: name of a part, such as train, or "" for the whole -> class -> its items.
      read: an item -> its image, an array; ValueError, naming it, if that cannot be.
      odd: what is wrong with names alone, in words.
    """

    parts: dict[str, dict[str, Sequence[Any]]]
    read: Callable[[Any], np.ndarray]
    odd: list[str]


class Found(NamedTuple):
    """What reading every image came upon: shapes, bytes of pixels, and what is wrong, in words."""

    shapes: Counter[tuple[int, ...]]
    bytes: int
    odd: list[str]


@contextmanager
def open_source(
    what: str, *, data_dir: str | None = None, split: str | None = None, root: str = ""
) -> Iterator[Source]:
    """A folder or zip, if there is one of that name, or else a data set.

    Args:
      what: a path, omniglot, grocery, a name of `datasets.published_split`, or a name of TFDS.
      data_dir: where a data set's files are.
      split: of a data set; by default its train, val and test, or TFDS's train.
      root: sub-folder of a path.
    """
    path = Path(what).expanduser()
    if not path.exists():
        if root:
            raise ValueError(f"`--root` is a sub-folder of a folder or zip, and there is none called {what!r}.")
        yield _of_sets(_load(what, data_dir, split))
        return
    if data_dir is not None or split is not None:
        raise ValueError(f"`--data-dir` and `--split` are for data sets by name; {what!r} is a path. Use `--root`.")
    with open_tree(path, "path") as (names, read):
        classes, odd = group(names, root, str(path))
        read_one = lambda name: read_image(read(name), f"{name!r} in {str(path)!r}", None, "rgb")
        yield Source(_parts(classes), read_one, odd)


def read_all(source: Source, say: Callable[[str], None] = lambda text: None) -> Found:
    """Reads every image; what is wrong with one does not keep the others from being read."""
    shapes: Counter[tuple[int, ...]] = Counter()
    odd = list(source.odd)
    for part, classes in source.parts.items():
        for name, items in classes.items():
            say(f"{part} {shown(name)}".strip())
            for item in items:
                try:
                    shapes[source.read(item).shape] += 1
                except ValueError as error:
                    odd.append(str(error))
    return Found(shapes, sum(count * int(np.prod(shape)) for shape, count in shapes.items()), odd)


def held_out(source: Source) -> list[str] | None:
    """The classes that `jaxmeta train photographs` would test on; None where folders say it, or there are too few."""
    classes = source.parts.get("", {})
    try:
        return None if are_parted(classes) else sorted(split_by_name(classes, Split(), "")["test"])
    except ValueError:
        return None


def shown(text: str) -> str:
    """A stranger's text on one line, with nothing that moves a cursor or changes colours; cut where it is long.

    Example:
      >>> shown("caf\u00e9 \x1b[31m")
      'café \\\\x1b[31m'
    """
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return safe if len(safe) <= MAX_LETTERS else safe[: MAX_LETTERS - 1] + "…"


def _parts(classes: dict[str, list[str]]) -> dict[str, dict[str, Sequence[Any]]]:
    """Classes by the part they are in, if all of them are in folders train, val and test; else the whole."""
    if not all(name.split("/")[0] in PARTS and "/" in name for name in classes):
        return {"": dict(classes)}
    parts: dict[str, dict[str, Sequence[Any]]] = {part: {} for part in PARTS}
    for name, files in classes.items():
        part, _, below = name.partition("/")
        parts[part][below] = files
    return {part: inside for part, inside in parts.items() if inside}


def _load(name: str, data_dir: str | None, split: str | None) -> Mapping[str, ClassSet]:
    """Part -> its classes."""
    splits = PARTS if split is None else (split,)
    if name == "omniglot":
        return {part: datasets.omniglot(part, data_dir=data_dir, size=105) for part in splits}
    if name == "grocery":
        return {part: datasets.grocery(part, data_dir=data_dir) for part in splits}
    if name in SETS:
        return {part: datasets.published_split(name, part, data_dir=data_dir) for part in splits}
    if "/" in name or "." in name or "\\" in name:
        raise ValueError(f"{name!r} does not exist. Check the path.")
    return {split or "train": datasets.from_tfds(name, split or "train", data_dir=data_dir)}


def _of_sets(sets: Mapping[str, ClassSet]) -> Source:
    parts: dict[str, dict[str, Sequence[Any]]] = {}
    for part, data in sets.items():
        rows = zip(data.names, data.start.tolist(), data.count.tolist(), strict=True)
        parts[part] = {name: [(part, row) for row in range(start, start + count)] for name, start, count in rows}
    return Source(parts, lambda item: np.asarray(sets[item[0]].x[item[1]]), [])
