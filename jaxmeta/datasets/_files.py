"""List and read folders and zips from strangers, within bounds and without extracting anything."""

import functools
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from ._images import SUFFIXES

MAX_BYTES = 1 << 28  # of one file
MAX_DEPTH = 64  # folders inside each other
_HIDDEN = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini"))


class Tree(NamedTuple):
    """The files of a folder or zip; hidden ones are left out.

    Attributes:
      names: sorted posix names relative to the folder; a folder's name ends in ``/``.
      read: name -> bytes; raises ValueError, naming the file.
      odd: sentences on links and members that are refused.
      bytes_of: names -> their bytes on disk, in total.
    """

    names: list[str]
    read: Callable[[str], bytes]
    odd: list[str]
    bytes_of: Callable[[Iterable[str]], int]


@contextmanager
def open_tree(path: Path, argument: str, *, strict: bool = True) -> Generator[Tree, None, None]:
    """List a folder or a zip.

    Args:
      path: a folder or a zip file.
      argument: the caller's argument that named it, for errors.
      strict: raise the first of ``odd``.

    Raises:
      ValueError: if there is no such folder or zip, or it cannot be read; for refused files.
    """
    with _naming_the_file(path, argument):
        if not path.exists():
            raise ValueError(f"`{argument}`: {str(path)!r} does not exist. Check the path.")
        tree, archive = _folder_tree(path, argument) if path.is_dir() else _zip_tree(path, argument)
    with archive:
        if strict and tree.odd:
            raise ValueError(tree.odd[0])
        yield tree


def cache_dir() -> Path:
    """Return ``JAXMETA_CACHE``, or ``~/.cache/jaxmeta``; without a home, a folder that lasts as long as the process."""
    if named := os.environ.get("JAXMETA_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "jaxmeta"
    except RuntimeError:  # there is no home
        return Path(_temporary().name)


def local_path(path: str | os.PathLike[str], argument: str) -> Path:
    """Return ``path`` with ``~`` as the home.

    Raises:
      ValueError: if there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"`{argument}`: {os.fspath(path)!r} has no home to begin with. Write the full path."
        ) from error


def places(name: str, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """List where a data set may be: `data_dir`, or else ``$JAXMETA_DATA_DIR/<name>``, then ``<name>`` in the cache."""
    if data_dir is not None:
        return [local_path(data_dir, "data_dir")]
    root = os.environ.get("JAXMETA_DATA_DIR")
    return ([Path(root) / name] if root else []) + [cache_dir() / name]


@functools.cache
def _temporary() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="jaxmeta-")  # private to the user, and removed at exit


@contextmanager
def _naming_the_file(path: Path, argument: str) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        name = str(path if error.filename is None else error.filename)
        raise ValueError(f"`{argument}`: {name!r} cannot be read ({error.strerror or error}).") from error


def _folder_tree(path: Path, argument: str) -> tuple[Tree, AbstractContextManager[Any]]:
    def bytes_of(names: Iterable[str]) -> int:
        return sum((path / name).stat().st_size for name in names)

    names, odd = _folder_names(path, argument)
    return Tree(names, lambda name: _read_file(path, name, argument), odd, bytes_of), nullcontext()


def _zip_tree(path: Path, argument: str) -> tuple[Tree, AbstractContextManager[Any]]:
    archive = _open_zip(path, argument)
    members, odd = _zip_members(archive, path, argument)

    def bytes_of(names: Iterable[str]) -> int:
        return sum(members[name].compress_size for name in names)

    def read(name: str) -> bytes:
        return _read_member(archive, members[name], path, name, argument)

    return Tree(sorted(members), read, odd, bytes_of), archive


def _folder_names(root: Path, argument: str) -> tuple[list[str], list[str]]:
    """Return the names below a folder, and sentences on links that lead elsewhere and on folders too deep."""
    inside = os.path.realpath(root) + os.sep
    names: list[str] = []
    odd: list[str] = []

    def refused(full: str, what: str, remedy: str) -> None:
        odd.append(f"`{argument}`: {full!r} is {what}, which is refused: {remedy}")

    for folder, folders, files in os.walk(root, onerror=_raise):
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if relative == "." else relative + "/"
        folders[:] = [name for name in folders if not _is_hidden(name)]
        links = {name for name in folders if os.path.islink(os.path.join(folder, name))}
        if prefix.count("/") >= MAX_DEPTH and folders:
            refused(folder, f"more than {MAX_DEPTH} folders deep", "move its images up.")
            folders[:] = []
        names += [f"{prefix}{name}/" for name in folders if name not in links]
        folders[:] = [name for name in folders if name not in links]
        for name in [*sorted(links), *(name for name in files if not _is_hidden(name))]:
            full = os.path.join(folder, name)
            leads_away = os.path.islink(full) and not os.path.realpath(full).startswith(inside)
            if name in links or leads_away:
                refused(
                    full, "a link to another place", f"only files inside {str(root)!r} are read. Copy the files there."
                )
            else:
                names.append(prefix + name)
    return sorted(names), odd


def _raise(error: OSError) -> None:
    raise error  # a folder that may not be read must not go missing in silence


def _read_file(root: Path, name: str, argument: str) -> bytes:
    path = root / name
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise ValueError(f"`{argument}`: {str(path)!r} cannot be read ({error.strerror}).") from error
    raise ValueError(f"`{argument}`: {str(path)!r} is not a regular file of at most {MAX_BYTES} bytes. Remove it.")


def _open_zip(path: Path, argument: str) -> zipfile.ZipFile:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"`{argument}`: {str(path)!r} is neither a folder nor a regular file.")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise ValueError(f"`{argument}`: {str(path)!r} {_instead_of_zip(path, error)}") from error


def _instead_of_zip(path: Path, error: Exception) -> str:
    """Say in words which file is there where a folder or zip is expected, and what to do."""
    if path.suffix.lower() in SUFFIXES:
        return f"is a single image. Pass the folder that holds the folders of images: {str(path.parent.parent)!r}?"
    if tarfile.is_tarfile(path):
        return "is a tar archive, which is not read. Unpack it (`tar xf`), and pass the folder."
    return (
        f"is not a whole zip file ({error}); it may have been cut short while it was copied or downloaded. Fetch it "
        "again."
    )


def _zip_members(archive: zipfile.ZipFile, path: Path, argument: str) -> tuple[dict[str, zipfile.ZipInfo], list[str]]:
    """Map the names in a zip to its members, hidden ones left out; and sentences on those that are refused.

    Some programs of Windows write backslashes between folders, which the format forbids; they are read as slashes.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    odd: list[str] = []
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        leads_outside = name.startswith("/") or ".." in parts or ":" in "".join(parts[:1])
        name = "/".join(parts) + "/" * name.endswith("/")
        if leads_outside or stat.S_ISLNK(info.external_attr >> 16):
            odd.append(
                f"`{argument}`: {str(path)!r} has a member named {info.filename!r} that is a link or leads outside "
                "the archive's folder, which is refused. Make the archive again from plain files."
            )
        elif len(parts) > MAX_DEPTH:
            odd.append(f"`{argument}`: {str(path)!r} has a member more than {MAX_DEPTH} folders deep: {name[:200]!r}.")
        elif not parts or any(map(_is_hidden, parts)):
            continue
        elif name in members:
            odd.append(f"`{argument}`: {str(path)!r} holds {name!r} twice. Make the archive again.")
        else:
            members[name] = info
    return members, odd


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, name: str, argument: str) -> bytes:
    if info.file_size > MAX_BYTES:
        raise ValueError(f"`{argument}`: {name!r} in {str(path)!r} unpacks to more than {MAX_BYTES} bytes. Remove it.")
    try:
        return archive.read(info)
    except Exception as error:  # a damaged member: BadZipFile, zlib.error, EOFError, RuntimeError (encrypted) ...
        raise ValueError(
            f"`{argument}`: {name!r} in {str(path)!r} cannot be unpacked ({error}). Fetch the archive again."
        ) from error


def _is_hidden(name: str) -> bool:
    return name in _HIDDEN or (name.startswith(".") and name not in (".", ".."))
