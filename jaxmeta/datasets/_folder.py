"""A folder of images, or a zip of one, as a class set. Letters: M images of h x w pixels, c channels."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from jaxmeta.types import ClassSet

from ._arrays import class_set
from ._files import SUFFIXES, check_size, open_image, open_tree, resize_array
from ._prepared import Images, identity, place, prepared


def from_folder(
    path: str | os.PathLike,
    *,
    root: str = "",
    size: int | tuple[int, int] | None = None,
    color: Literal["rgb", "gray"] = "rgb",
) -> ClassSet:
    """Images in folders, ``class/*.jpg``, as a `ClassSet`; a zip with that layout is read in place.

    A class is any folder that directly holds images, at any depth, named by its path below `root`
    (``Fruit/Apple``). Hidden files (``.DS_Store``, ``Thumbs.db``, ``__MACOSX``) are ignored. Photographs are
    turned upright as their EXIF tag says; transparency is dropped; of an animation the first frame counts.

    Args:
      path: a folder or a zip file.
      root: sub-folder of `path` to read, such as ``"train"``.
      size: pixels, one number or ``(height, width)``: images are resized to it, antialiased, without keeping
        their aspect. By default they must all have one shape.
      color: ``"rgb"`` for three channels, ``"gray"`` for one.

    Returns:
      A `ClassSet`: `x` uint8 ``[M, h, w, c]``, classes and files in alphabetical order.

    Raises:
      ValueError: the path is missing, is an empty folder or a damaged zip; a file is not an image, is cut
        short or too large; a link or member leads outside; image shapes differ and `size` is None.

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
    return read_folder(path, "path", root=root, size=size, color=color)


def read_folder(
    path: str | os.PathLike,
    argument: str,
    *,
    root: str = "",
    size: int | tuple[int, int] | None,
    color: str = "rgb",
) -> ClassSet:
    """What `from_folder` reads, for callers whose own argument named the path."""
    return read_classes(
        Path(path), argument, lambda names: classes_below(names, root, str(path), argument), size, color
    )


def read_classes(
    path: Path,
    argument: str,
    classes_of: Callable[[list[str]], dict[str, list[str]]],
    size: int | tuple[int, int] | None,
    color: str = "rgb",
    keep: str = "",
) -> ClassSet:
    """The images that ``classes_of`` picks among the names in a folder or zip: class name -> its files.

    Args:
      path: the folder or zip.
      argument: the caller's argument that named it, for errors.
      classes_of: sees all names, a folder's ending in ``/``; raises ValueError where they are not what it expects.
      size, color: as for `from_folder`.
      keep: under what name the decoded images stay in the cache folder, for the next call; by default they do not.
    """
    pair = check_size(size)
    with open_tree(path, argument) as (names, read):
        classes = classes_of(names)
        files = [name for members in classes.values() for name in members]

        def decoded() -> np.ndarray:
            where = lambda name: f"`{argument}`: {name!r} in {str(path)!r}"
            return _stacked((read_image(read(name), where(name), pair, color) for name in files), files)

        counts = [len(members) for members in classes.values()]
        if keep and pair is not None:
            about = {"counts": counts, "color": color, "source": identity(path, files)}
            asked = Images(about, list(classes), (len(files), *pair, 3 if color == "rgb" else 1))
            x = prepared(place(f"{keep}-{pair[0]}x{pair[1]}", path), asked, decoded)
        else:
            x = decoded()
    return class_set(x, counts, list(classes))


def read_named(
    path: str | os.PathLike, argument: str, *, size: int | tuple[int, int] | None, color: str = "rgb"
) -> tuple[list[str], np.ndarray]:
    """All images in a folder or zip, at any depth: their names, and uint8 ``[M, h, w, c]``."""
    pair = check_size(size)
    with open_tree(Path(path), argument) as (names, read):
        files = [name for name in names if not name.endswith("/")]
        if not files:
            raise ValueError(f"`{argument}`: {str(path)!r} holds no images.")
        if odd := [name for name in files if not is_image(name)]:
            raise ValueError(f"`{argument}`: {_no_image(odd[0], str(path))}")
        return files, _stacked(
            (read_image(read(name), f"`{argument}`: {name!r} in {str(path)!r}", pair, color) for name in files), files
        )


def classes_below(names: list[str], root: str, path: str, argument: str) -> dict[str, list[str]]:
    """Class name -> its files; nothing else may be there."""
    classes, odd = group(names, root, path)
    if odd:
        more = " This is not all: `jaxmeta data check` names everything at once." if len(odd) > 1 else ""
        raise ValueError(f"`{argument}`: {odd[0]}{more}")
    return classes


def group(names: list[str], root: str, path: str) -> tuple[dict[str, list[str]], list[str]]:
    """Class name -> its files; and what is wrong with every other name below ``root``, in words.

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
    odd = []
    for file in below:
        if file in folders:
            wrong = (
                ""
                if file in holding
                else f"the folder '{file}/' in {path!r} is empty. Remove it, or put its images there."
            )
        else:
            wrong = _wrong_file(file, top, path)
            if not wrong:
                classes.setdefault(file.parent.relative_to(top).as_posix(), []).append(str(file))
        odd += [wrong] * bool(wrong)
    return dict(sorted(classes.items())), odd


def _wrong_file(file: PurePosixPath, top: PurePosixPath, path: str) -> str:
    """What is wrong with a file by its name alone, or nothing."""
    if not is_image(str(file)):
        return _no_image(str(file), path)
    if file.parent == top:
        return f"the image {str(file)!r} in {path!r} is in no class folder. Move it into one: class/{file.name}."
    return ""


def read_image(data: bytes, where: str, size: tuple[int, int] | None, color: str) -> np.ndarray:
    """One photograph, upright, uint8 ``[h, w, c]``; ``where`` names it in errors."""
    from PIL import ImageOps

    image = open_image(data, where)
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"{where} has more than 8 bits per channel (mode {image.mode}). Convert it to 8 bits first.")
    image = ImageOps.exif_transpose(image)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    pixels = np.asarray(image.convert("RGB" if color == "rgb" else "L"))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels if size is None else resize_array(pixels, size)


def _stacked(images: Iterable[np.ndarray], names: list[str]) -> np.ndarray:
    """``[M, h, w, c]``, each image put in its place as it comes: a second copy of a large set may not fit."""
    x = np.empty(0)
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        x = x if i else np.empty((len(names), *image.shape), np.uint8)
        if image.shape != x.shape[1:]:
            raise ValueError(
                f"`size` is None, but the images differ in shape: {names[0]!r} is {x.shape[1:3]} and "
                f"{name!r} is {image.shape[:2]} (height, width). Pass `size`, for example size=84."
            )
        x[i] = image
    return x


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _no_image(name: str, path: str) -> str:
    return f"{name!r} in {path!r} is not an image file. Remove it; known are {', '.join(sorted(SUFFIXES))}."
