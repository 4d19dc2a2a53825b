"""Paths on this machine and in object stores, and files that are written whole or not at all.

A path of this machine is pathlib's; one that begins like ``gs://`` is epath's, which has the same methods. An object
store has no folders, and objects can be neither appended to nor renamed. But an object appears only when it is whole.
"""

import io
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

MAX_JSON = 1 << 20  # bytes of a file that is read
SCHEMES = {"gs": "gcsfs"}  # of object stores that orbax too writes to, and the package that speaks to each


def as_path(path: str | os.PathLike) -> Path:
    """Return a path for text: pathlib's for a folder of this machine, epath's for one in an object store.

    Raises:
      ValueError: for an address that nothing can be written to.
      ImportError: naming the extra to install for one that could be.

    Example:
      >>> as_path("runs/a").name, is_remote(as_path("runs/a"))
      ('a', False)
      >>> as_path("ftp://runs/a")
      Traceback (most recent call last):
      ValueError: 'ftp://runs/a': ftp:// is not supported. Name a folder of this machine, or one under gs://.
    """
    text = os.fspath(path)
    if "://" not in text:
        return Path(text)
    scheme = text.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(
            f"{text!r}: {scheme}:// is not supported. Name a folder of this machine, or one under {known}."
        )
    if find_spec(SCHEMES[scheme]) is None:
        raise ImportError(f"{text!r} needs a package that is not installed: pip install 'jaxmeta[remote]'.")
    from etils import epath

    found: Any = epath.Path(text)
    return found


def is_remote(path: str | os.PathLike) -> bool:
    """Return whether a path is in an object store."""
    return "://" in os.fspath(path)


def absolute(path: Path) -> Path:
    """Return the path independent of the working directory."""
    return path if is_remote(path) else path.absolute()


def size_of(path: Path) -> int:
    """Return the size of a file in bytes."""
    about: Any = path.stat()
    return about.length if is_remote(path) else about.st_size


def check_entry(entry: "os.DirEntry[str]") -> None:
    """Raise ValueError if an entry of a folder is a symbolic link or a special file."""
    if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
        kind = "a symbolic link" if entry.is_symlink() else "no regular file"
        raise ValueError(f"{entry.path!r} is {kind}. It is not opened, as it may lead anywhere: remove it.")


def check_tree(folder: Path, most: int = 1_000_000) -> None:
    """Check every entry below a folder with `check_entry`; do nothing if it does not exist or is in an object store.

    Raises:
      ValueError: naming the entry, or if there are more than ``most``.
    """
    if is_remote(folder) or not folder.is_dir():
        return
    stack, count = [os.fspath(folder)], 0
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                check_entry(entry)
                count += 1
                if count > most:
                    raise ValueError(f"{str(folder)!r} holds more than {most:,} files; it is not read.")
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)


def read_json(path: Path, most: int = MAX_JSON) -> Any:
    """Read a JSON file that may hold anything.

    Raises:
      ValueError: if it has more than ``most`` bytes, or is not JSON.
    """
    try:
        if size_of(path) > most:
            raise ValueError(f"larger than {most} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "brackets nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{str(path)!r} cannot be read as JSON ({reason}); it is damaged.") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file entirely or not at all."""

    def write(file: BinaryIO) -> None:
        file.write(data)

    write_whole(path, write)


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file entirely or not at all: to a temporary neighbour that is then renamed, or as one object."""
    if is_remote(path):
        return _put(path, write)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _neighbour(path)
    try:
        with naming(path):
            with open(temporary, "xb") as file:
                write(file)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name ``path`` in a system's errors about it: a temporary name says nothing, and a full disk names no file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill, which gets the name ``path`` when the block ends.

    In an object store it is filled where it is: there, what makes it a folder of its kind has to be written last.
    """
    if is_remote(path):
        yield path
        return
    temporary = _neighbour(path.absolute())
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.rename(temporary, path)
    finally:
        rmtree(temporary, ignore_errors=True)


@contextmanager
def filled_here(path: str | os.PathLike) -> Iterator[str]:
    """Yield ``path``, or for an object store a local folder whose files are copied there at the end."""
    if not is_remote(path):
        yield os.fspath(path)
        return
    with TemporaryDirectory() as folder:
        try:
            yield folder
        finally:
            for file in (file for file in sorted(Path(folder).rglob("*")) if file.is_file()):
                write_bytes(as_path(path) / file.relative_to(folder).as_posix(), file.read_bytes())


def _neighbour(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def _put(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    buffer = io.BytesIO()
    write(buffer)
    try:
        path.write_bytes(buffer.getvalue())
    except Exception as error:  # of a dozen types, some of which are no OSError
        reason = "there is no such bucket" if isinstance(error, FileNotFoundError) else str(error) or repr(error)
        raise OSError(
            f"{str(path)!r} could not be written ({reason}). Check its name, and who may write there."
        ) from error
