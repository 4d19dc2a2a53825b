"""Images by class, image by image: from a folder or zip, or from a data set by its name."""

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..types import ClassSet
from ._class_splits import PARTS, ClassSplit, check_shared, find_parts, split_classes
from ._files import open_tree
from ._folder import group
from ._images import read_image
from ._registry import DATASETS, folder_path, load

MAX_LETTERS = 60  # of a name that is shown
EPISODE = 5 + 15  # images of a class that 5 shots and 15 queries take
SKEW = 10  # how many times the smallest class the largest may be before it is mentioned


class Source(NamedTuple):
    """Images by part and class.

    Attributes:
      parts: name of a part, such as train, or "" for the whole -> class -> its items.
      read: item -> image, an array; raises ValueError, naming it, if it cannot be read.
      odd: sentences on what is wrong with names alone.
      shared: sentences on classes that are both in train and in test, where that is not allowed.
      held_out: the classes that `jaxmeta train photographs` tests on; None where folders decide, or there are too few.
      notes: sentences on what a person should know but need not mend.
    """

    parts: dict[str, dict[str, Sequence[Any]]]
    read: Callable[[Any], np.ndarray]
    odd: list[str]
    shared: list[str]
    held_out: list[str] | None
    notes: list[str]


class Found(NamedTuple):
    """The result of reading every image.

    Attributes:
      shapes: shape -> number of images.
      bytes: of all pixels.
      odd: sentences on what is wrong.
    """

    shapes: Counter[tuple[int, ...]]
    bytes: int
    odd: list[str]


@dataclass(frozen=True)
class Part:
    """The part of the data that is read."""

    data_dir: str | None = None
    """where a data set's files are, for a name"""
    split: str | None = None
    """of a data set; by default its train, val and test, or the train of TFDS"""
    root: str = ""
    """sub-folder to read, of a folder or zip"""
    allow_shared_classes: bool = False
    """accept classes that are both in train and in test"""


@contextmanager
def open_source(what: str, part: Part = Part()) -> Generator[Source, None, None]:
    """Open a folder or zip, if there is one of that name, or else a data set.

    Args:
      what: a path, or a name that `load` knows.
      part: the part of it that is read.
    """
    path = _path(what, part.data_dir, part.split, part.root)
    if path is None:
        yield _of_sets(_load(what, part.data_dir, part.split))
        return
    with open_tree(path, "path", strict=False) as tree:
        source = _of_files(tree.names, path, part.root, part.allow_shared_classes)
        yield source._replace(
            read=lambda name: read_image(tree.read(name), f"{name!r} in {str(path)!r}", None, "rgb"),
            odd=tree.odd + source.odd,
            notes=source.notes + _uneven(source.parts),
        )


def read_all(source: Source, say: Callable[[str], None] = lambda text: None) -> Found:
    """Read every image; what is wrong with one does not keep the others from being read."""
    shapes: Counter[tuple[int, ...]] = Counter()
    odd = source.odd + source.shared
    for part, classes in source.parts.items():
        for name, items in classes.items():
            say(f"{part} {shown(name)}".strip())
            for item in items:
                try:
                    image = source.read(item)
                except ValueError as error:
                    odd.append(str(error))
                    continue
                shapes[image.shape] += 1
                if image.size and (image == image[:1, :1]).all():
                    odd.append(f"{_called(item, part, name)} has one colour everywhere. Nothing can be seen on it.")
    return Found(shapes, sum(count * int(np.prod(shape)) for shape, count in shapes.items()), odd)


def summary(source: Source, found: Found) -> dict[str, Any]:
    """Return a source as plain dicts, lists and numbers."""
    return {
        "parts": [_part(name, classes) for name, classes in source.parts.items()],
        "shapes": [{"shape": list(shape), "images": count} for shape, count in found.shapes.most_common()],
        "bytes": found.bytes,
        "problems": len(found.odd),
        "held_out": source.held_out,
        "shared": source.shared,
        "notes": source.notes,
    }


def _part(name: str, classes: dict[str, Any]) -> dict[str, Any]:
    counts = np.array([len(items) for items in classes.values()] or [0])
    about: dict[str, Any] = {"part": name, "classes": len(classes), "images": int(counts.sum())}
    about["images_per_class"] = {"min": int(counts.min()), "median": float(np.median(counts)), "max": int(counts.max())}
    about["classes_large_enough"] = int((counts >= EPISODE).sum())
    return about | {"episodes": len(classes) >= 5 and int(counts.min()) >= EPISODE}


def shown(text: str) -> str:
    """Return a stranger's text on one line, without control characters, and cut where it is long.

    Example:
      >>> shown("caf\u00e9 \x1b[31m")
      'café \\\\x1b[31m'
    """
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return safe if len(safe) <= MAX_LETTERS else safe[: MAX_LETTERS - 1] + "…"


def _path(what: str, data_dir: str | None, split: str | None, root: str) -> Path | None:
    """Return the folder or zip that is meant, or None for a data set by name."""
    path = None if what in DATASETS and not Path(what).exists() else folder_path(what)
    path = Path(what) if path is None and Path(what).exists() else path
    if path is None and root:
        raise ValueError(f"`--root` is a sub-folder of a folder or zip, and there is none called {what!r}.")
    if path is not None and (data_dir is not None or split is not None):
        raise ValueError(f"`--data-dir` and `--split` are for data sets by name; {what!r} is a path. Use `--root`.")
    return path


def _of_files(names: Sequence[str], path: Path, root: str, allow_shared_classes: bool) -> Source:
    """Sort the names in a folder or zip by part and class; the images are not read yet."""
    where = repr(str(path))
    classes, odd = group(names, root, str(path))
    try:
        folders = {} if root else find_parts(names, where)
    except ValueError as error:
        return Source({"": dict(classes)}, _unread, [str(error), *odd], [], None, [])
    if not folders:
        held_out = _held_out(names, path) if not root else None
        return Source({"": dict(classes)}, _unread, odd, [], held_out, [])
    parts: dict[str, dict[str, Sequence[Any]]] = {part: {} for part in folders}
    beside: set[str] = set()
    for name, files in classes.items():
        part = next((part for part, folder in folders.items() if f"{name}/".startswith(f"{folder}/")), None)
        if part is None:
            beside.add(name)
        elif name == folders[part]:
            odd.append(f"{len(files)} images in {where}, {files[0]!r} first, are in no class folder of {name!r}.")
        else:
            parts[part][name[len(folders[part]) + 1 :]] = files
    notes = (
        [f"in neither train nor val nor test, and not used: {', '.join(map(shown, sorted(beside)))}"] if beside else []
    )
    shared: list[str] = []
    try:
        notes += check_shared(parts, where, allow=allow_shared_classes)
    except ValueError as error:
        shared.append(str(error))
    return Source(parts, _unread, odd, shared, None, notes)


def _held_out(names: Sequence[str], path: Path) -> list[str] | None:
    try:
        return sorted(split_classes(names, ClassSplit(), path, "path").files["test"])
    except ValueError:  # there are too few classes, or their files are odd, which is said elsewhere
        return None


def _unread(item: Any) -> np.ndarray:
    raise NotImplementedError


def _uneven(parts: Mapping[str, Mapping[str, Sequence[Any]]]) -> list[str]:
    """Return a sentence on each part whose classes differ much in size."""
    notes: list[str] = []
    for part, classes in parts.items():
        sizes = sorted((len(items), name) for name, items in classes.items())
        if sizes and sizes[-1][0] >= SKEW * sizes[0][0]:
            (few, small), (many, large) = sizes[0], sizes[-1]
            within = f" of {part!r}" if part else ""
            notes.append(
                f"the classes{within} are uneven: {shown(small)} has {few} images, {shown(large)} {many}. Episodes "
                "draw all classes alike."
            )
    return notes


def _load(name: str, data_dir: str | None, split: str | None) -> Mapping[str, ClassSet]:
    """Map each part to its classes; images are read as large as they are, where they have one size."""
    known = name in DATASETS
    splits = (split,) if split is not None else PARTS if known else ("train",)
    size = 105 if name == "omniglot" else None
    return {part: load(name, part, data_dir=data_dir, size=size) for part in splits}


def _of_sets(sets: Mapping[str, ClassSet]) -> Source:
    parts: dict[str, dict[str, Sequence[Any]]] = {}
    for part, data in sets.items():
        rows = zip(data.names, data.start.tolist(), data.count.tolist(), strict=True)
        parts[part] = {name: [(part, row) for row in range(start, start + count)] for name, start, count in rows}
    return Source(parts, partial(_row, sets), [], [], None, _uneven(parts))


def _row(sets: Mapping[str, ClassSet], item: tuple[str, int]) -> np.ndarray:
    return np.asarray(sets[item[0]].x[item[1]])


def _called(item: Any, part: str, name: str) -> str:
    """Name an image: its file, or its row in a data set."""
    return repr(item) if isinstance(item, str) else f"row {item[1]} of {part} ({name})"
