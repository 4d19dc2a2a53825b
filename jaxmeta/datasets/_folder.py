"""Read a folder of images, or a zip of one, as a class set. Letters: M images of h x w pixels, c channels."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from jaxmeta.types import ClassSet

from ._arrays import class_set
from ._files import Tree, open_tree
from ._images import SUFFIXES, check_background, check_memory, check_size, is_image, read_image
from ._prepared import Images, identity, place, prepared


def from_folder(
    path: str | os.PathLike[str],
    *,
    root: str = "",
    size: int | tuple[int, int] | None = None,
    color: Literal["rgb", "gray"] = "rgb",
    background: str = "white",
) -> ClassSet:
    """Read folders of images, ``class/*.jpg``, as a `ClassSet`; a zip with that layout is read in place.

    A class is any folder that directly holds images, at any depth, named by its path below `root`
    (``Fruit/Apple``). Hidden files (``.DS_Store``, ``Thumbs.db``, ``__MACOSX``) are ignored. Photographs are
    turned upright as their EXIF tag says. Transparent images are put on `background`. Of an animation, the first
    frame is read.

    Args:
      path: a folder or a zip file.
      root: sub-folder of `path` to read, such as ``"train"``.
      size: pixels, one number or ``(height, width)``: images are resized to it, antialiased, without keeping
        their aspect. By default they must all have one shape.
      color: ``"rgb"`` for three channels, ``"gray"`` for one.
      background: the colour behind transparent images, a name or ``#rrggbb``.

    Returns:
      A `ClassSet`: `x` uint8 ``[M, h, w, c]``, classes and files in alphabetical order.

    Raises:
      ValueError: if the path is missing, is an empty folder or a damaged zip; if a file is not an image, is cut
        short or too large; if a link or member leads outside; if image shapes differ and `size` is None; if the
        images would take far more memory than their files explain.

    Example:
      >>> import pathlib, tempfile
      >>> from PIL import Image
      >>> from jaxmeta import datasets
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for name in ("cat", "dog"):
      ...         (pathlib.Path(folder) / name).mkdir()
      ...         Image.new("RGB", (6, 4)).save(f"{folder}/{name}/1.png")
      ...     data = datasets.from_folder(folder)
      >>> data.x.shape, data.names, data.count.tolist()
      ((2, 4, 6, 3), ('cat', 'dog'), [1, 1])
    """
    if color not in ("rgb", "gray"):
        raise ValueError(f"`color` must be 'rgb' or 'gray', got {color!r}.")
    check_background(background)
    return read_folder(path, "path", root=root, size=size, color=color, background=background)


def read_folder(
    path: str | os.PathLike[str],
    argument: str,
    *,
    root: str = "",
    size: int | tuple[int, int] | None,
    color: str = "rgb",
    background: str = "white",
) -> ClassSet:
    """Read as `from_folder`, for callers whose own argument named the path."""

    def chosen(names: Sequence[str]) -> dict[str, list[str]]:
        return classes_below(names, root, str(path), argument)

    return read_classes(Path(path), argument, chosen, size, color, background=background)


def read_classes(
    path: Path,
    argument: str,
    classes_of: Callable[[Sequence[str]], Mapping[str, Sequence[str]]],
    size: int | tuple[int, int] | None,
    color: str = "rgb",
    keep: str = "",
    background: str = "white",
) -> ClassSet:
    """Read the images that ``classes_of`` picks among the names in a folder or zip.

    Args:
      path: the folder or zip.
      argument: the caller's argument that named it, for errors.
      classes_of: names, a folder's ending in ``/`` -> {class: its files}; raises ValueError for names that do not fit.
      size, color, background: as for `from_folder`.
      keep: the name under which the decoded images stay in the cache folder, for the next call; by default they do not.
    """
    pair = check_size(size)
    with open_tree(path, argument) as tree:
        classes = classes_of(tree.names)
        files = [name for members in classes.values() for name in members]

        def decoded() -> np.ndarray:
            return _decoded(tree, path, argument, files, pair, color, background)

        counts = [len(members) for members in classes.values()]
        if keep and pair is not None:
            about = {"counts": counts, "color": color, "source": identity(path, files)}
            wanted = Images(about, list(classes), (len(files), *pair, 3 if color == "rgb" else 1))
            x = prepared(place(f"{keep}-{pair[0]}x{pair[1]}", path), wanted, decoded)
        else:
            x = decoded()
    return class_set(x, counts, list(classes))


def read_named(
    path: str | os.PathLike[str], argument: str, *, size: int | tuple[int, int] | None, color: str = "rgb"
) -> tuple[list[str], np.ndarray]:
    """Read all images in a folder or zip, at any depth: their names, and uint8 ``[M, h, w, c]``."""
    pair = check_size(size)
    with open_tree(Path(path), argument) as tree:
        files = [name for name in tree.names if not name.endswith("/")]
        if not files:
            raise ValueError(f"`{argument}`: {str(path)!r} holds no images.")
        if odd := [name for name in files if not is_image(name)]:
            raise ValueError(f"`{argument}`: {_no_image(odd[0], str(path))}")
        return files, _decoded(tree, Path(path), argument, files, pair, color, "white")


def classes_below(names: Sequence[str], root: str, path: str, argument: str) -> dict[str, list[str]]:
    """Map each class below ``root`` to its files; nothing else may be there."""
    classes, odd = group(names, root, path)
    if odd:
        more = " This is not all: `jaxmeta data check` names everything at once." if len(odd) > 1 else ""
        raise ValueError(f"`{argument}`: {odd[0]}{more}")
    return classes


def group(names: Sequence[str], root: str, path: str) -> tuple[dict[str, list[str]], list[str]]:
    """Map each class to its files; and say what is wrong with every other name below ``root``.

    Example:
      >>> group(["cat/1.png", "2.png"], "", "photos")[0]
      {'cat': ['cat/1.png']}
    """
    top = PurePosixPath(root)
    below = [PurePosixPath(name) for name in names if top in PurePosixPath(name).parents]
    if not below:
        where = f" below {root!r}" if root else ""
        return {}, [f"{path!r} holds no images{where}. Expected folders of images: {top / 'class'}/*.jpg."]
    folders = {PurePosixPath(name) for name in names if name.endswith("/")}
    holding = {folder for file in below if file not in folders for folder in file.parents}
    classes: dict[str, list[str]] = {}
    odd: list[str] = []
    for file in below:
        if file not in folders:
            wrong = _wrong_file(file, top, path)
            if not wrong:
                classes.setdefault(file.parent.relative_to(top).as_posix(), []).append(str(file))
        elif file not in holding:
            wrong = f"the folder '{file}/' in {path!r} is empty. Remove it, or put its images there."
        else:
            wrong = ""
        odd += [wrong] * bool(wrong)
    return dict(sorted(classes.items())), odd


def drop_small(classes: dict[str, list[str]], min_images: int, where: str) -> tuple[dict[str, list[str]], list[str]]:
    """Leave out classes of fewer images than ``min_images``, and say which in a sentence.

    Raises:
      ValueError: if none is left; ``where`` begins it.

    Example:
      >>> drop_small({"ant": ["1.png"], "bee": ["1.png", "2.png"]}, 2, "photos")
      ({'bee': ['1.png', '2.png']}, ['left out, with fewer than 2 images: ant (1)'])
    """
    small = [f"{name} ({len(files)})" for name, files in classes.items() if len(files) < min_images]
    left = {name: files for name, files in classes.items() if len(files) >= min_images}
    if classes and not left:
        raise ValueError(f"{where} has no class of {min_images} images (`min_images`). Lower it, or add images.")
    return left, [f"left out, with fewer than {min_images} images: {', '.join(small)}"] * bool(small)


def holding_folders(names: Iterable[str]) -> list[tuple[str, ...]]:
    """List the folders that directly hold images, each as its parts.

    Example:
      >>> holding_folders(["pets/", "pets/cat/1.png", "pets/cat/2.png", "notes.txt"])
      [('pets', 'cat')]
    """
    folders = {name.rpartition("/")[0] for name in names if is_image(name)}
    return sorted(tuple(folder.split("/")) if folder else () for folder in folders)


def _wrong_file(file: PurePosixPath, top: PurePosixPath, path: str) -> str:
    """Return what is wrong with a file by its name alone, or nothing."""
    if not is_image(str(file)):
        return _no_image(str(file), path)
    if file.parent == top:
        return f"the image {str(file)!r} in {path!r} is in no class folder. Move it into one: class/{file.name}."
    return ""


def _decoded(
    tree: Tree,
    path: Path,
    argument: str,
    files: Sequence[str],
    size: tuple[int, int] | None,
    color: str,
    background: str,
) -> np.ndarray:
    """Decode images to ``[M, h, w, c]``, each put in its place as it comes: a second copy might not fit."""
    x = np.empty(0)
    for i, name in enumerate(files):
        image = read_image(tree.read(name), f"`{argument}`: {name!r} in {str(path)!r}", size, color, background)
        if not i:
            check_memory(len(files) * image.nbytes, tree.bytes_of(files), f"`{argument}`: {str(path)!r}")
            x = np.empty((len(files), *image.shape), np.uint8)
        if image.shape != x.shape[1:]:
            raise ValueError(
                f"`size` is None, but the images differ in shape: {files[0]!r} is {x.shape[1:3]} and "
                f"{name!r} is {image.shape[:2]} (height, width). Pass `size`, for example size=84."
            )
        x[i] = image
    return x


def _no_image(name: str, path: str) -> str:
    return f"{name!r} in {path!r} is not an image file. Remove it; known are {', '.join(sorted(SUFFIXES))}."
