"""Files from strangers: folders and zips are listed, read and decoded within bounds, and never extracted."""

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff"))
MAX_PIXELS = 1 << 26  # of one image, checked on its header before it is decoded
MAX_BYTES = 1 << 28  # of one file

_FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    "GIF",
    "WEBP",
    "PPM",
    "TIFF",
)  # formats that only hold pixels: no EPS, no PDF
_HIDDEN = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini"))


@contextmanager
def open_tree(path: Path, argument: str) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """The files of a folder or a zip, hidden ones left out.

    Args:
      path: a folder or a zip file.
      argument: the caller's argument that named it, for errors.

    Yields:
      ``(names, read)``: sorted posix names relative to `path`, a folder's ending in ``/``, and their reader.
    """
    if path.is_dir():
        yield _folder_names(path, argument), lambda name: _read_file(path, name, argument)
    elif not path.exists():
        raise ValueError(f"`{argument}`: {str(path)!r} does not exist. Check the path.")
    else:
        with _open_zip(path, argument) as archive:
            yield (
                _zip_names(archive, path, argument),
                lambda name: _read_member(archive, path, name, argument),
            )


def open_image(data: bytes, where: str, max_pixels: int = MAX_PIXELS) -> Any:
    """Decodes one image with Pillow; `where` names it in errors.

    Raises:
      ValueError: the bytes are not a whole image, or it has more than `max_pixels` pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:  # whose words are an address in memory
        raise ValueError(f"{where} is not an image that can be read. Replace or remove it.") from error
    except Exception as error:  # Pillow's readers raise a dozen types on damaged files
        raise ValueError(f"{where} is not an image that can be read ({error}). Replace or remove it.") from error
    if image.width * image.height > max_pixels:
        raise ValueError(
            f"{where} has {image.width} x {image.height} pixels, more than the {max_pixels} that are "
            "allowed; it was not decoded. Shrink it, or remove it."
        )
    try:
        image.load()
    except Exception as error:
        raise ValueError(f"{where} is damaged or cut short ({error}). Replace or remove it.") from error
    return image


def resize_array(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 ``[h, w, 1 | 3]`` to ``[*size, 1 | 3]``, antialiased (Lanczos)."""
    from PIL import Image

    squeezed = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = np.asarray(squeezed.resize((size[1], size[0]), Image.Resampling.LANCZOS))
    return resized.reshape(*size, image.shape[-1])


def check_size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """``size`` as ``(height, width)`` in pixels."""
    pair = (size, size) if isinstance(size, int) else size
    if pair is None or (len(pair) == 2 and all(isinstance(s, int) and 1 <= s <= 4096 for s in pair)):
        return None if pair is None else (pair[0], pair[1])
    raise ValueError(f"`size` must be None, pixels, or (height, width), each from 1 to 4096, got {size!r}.")


def cache_dir() -> Path:
    """``JAXMETA_CACHE``, or ``~/.cache/jaxmeta``."""
    return Path(os.environ.get("JAXMETA_CACHE") or Path.home() / ".cache" / "jaxmeta")


def places(name: str, data_dir: str | os.PathLike | None) -> list[Path]:
    """Where a data set may lie: ``data_dir``, or else ``$JAXMETA_DATA_DIR/<name>``, then ``<name>`` in the cache."""
    if data_dir is not None:
        return [Path(data_dir).expanduser()]
    root = os.environ.get("JAXMETA_DATA_DIR")
    return ([Path(root) / name] if root else []) + [cache_dir() / name]


def _folder_names(root: Path, argument: str) -> list[str]:
    inside = os.path.realpath(root) + os.sep
    names = []
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in folders + [name for name in files if not _is_hidden(name)]:
            full = os.path.join(folder, name)
            linked_folder = name in folders and os.path.islink(full)
            if linked_folder or (os.path.islink(full) and not os.path.realpath(full).startswith(inside)):
                raise ValueError(
                    f"`{argument}`: {full!r} is a link to another place, which is refused: only files inside "
                    f"{str(root)!r} are read. Copy the files there instead."
                )
            relative = Path(full).relative_to(root).as_posix()
            names.append(relative + "/" if name in folders else relative)
    return sorted(names)


def _raise(error: OSError) -> None:
    raise error  # a folder that may not be read must not go missing in silence


def _read_file(root: Path, name: str, argument: str) -> bytes:
    path = root / name
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise ValueError(f"`{argument}`: {str(path)!r} is not a regular file of at most {MAX_BYTES} bytes. Remove it.")
    return path.read_bytes()


def _open_zip(path: Path, argument: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"`{argument}`: {str(path)!r} is not a whole zip file ({error}); it may have been cut short "
            "while it was copied or downloaded. Fetch it again."
        ) from error


def _zip_names(archive: zipfile.ZipFile, path: Path, argument: str) -> list[str]:
    names = archive.namelist()
    for info in archive.infolist():
        name = info.filename
        odd = name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or ".." in name.split("/")
        if odd or stat.S_ISLNK(info.external_attr >> 16):
            raise ValueError(
                f"`{argument}`: {str(path)!r} has a member named {name!r} that is a link or leads outside "
                "the archive's folder, which is refused. Make the archive again from plain files."
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`{argument}`: {str(path)!r} holds {twice!r} twice. Make the archive again.")
    return sorted(name for name in names if not any(map(_is_hidden, PurePosixPath(name).parts)))


def _read_member(archive: zipfile.ZipFile, path: Path, name: str, argument: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_BYTES:
        raise ValueError(f"`{argument}`: {name!r} in {str(path)!r} unpacks to more than {MAX_BYTES} bytes. Remove it.")
    try:
        return archive.read(name)
    except Exception as error:  # a damaged member: BadZipFile, zlib.error, EOFError, RuntimeError (encrypted) ...
        raise ValueError(
            f"`{argument}`: {name!r} in {str(path)!r} cannot be unpacked ({error}). Fetch the archive again."
        ) from error


def _is_hidden(name: str) -> bool:
    return name in _HIDDEN or (name.startswith(".") and name not in (".", ".."))
