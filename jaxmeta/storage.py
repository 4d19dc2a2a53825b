"""Where what is kept lies, a folder here or in an object store; and how files get there, whole or not at all.

A path of this machine is pathlib's; one that begins like ``gs://`` is epath's, which has the same methods. An object
store makes no folders, appends to nothing and renames nothing. But an object is whole by nature: there once all is.
"""

import io
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

SCHEMES = {"gs": "gcsfs"}  # of object stores that orbax too writes to, and the package that speaks to each


def as_path(path: str | os.PathLike) -> Path:
    """What a user named, as a path: the only place that tells a folder of this machine from one elsewhere.

    Raises:
      ValueError: for an address that nothing can be written to.
      ImportError: naming the extra to install for one that could be.

    Example:
      >>> as_path("runs/a").name, is_remote(as_path("runs/a"))
      ('a', False)
      >>> as_path("ftp://runs/a")
      Traceback (most recent call last):
      ValueError: 'ftp://runs/a': there is no way to ftp://. Name a folder of this machine, or one under gs://.
    """
    text = os.fspath(path)
    if "://" not in text:
        return Path(text)
    scheme = text.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(
            f"{text!r}: there is no way to {scheme}://. Name a folder of this machine, or one under {known}."
        )
    if find_spec(SCHEMES[scheme]) is None:
        raise ImportError(f"{text!r} needs a package that is not installed: pip install 'jaxmeta[remote]'.")
    from etils import epath

    found: Any = epath.Path(text)
    return found


def is_remote(path: str | os.PathLike) -> bool:
    """Whether it lies in an object store."""
    return "://" in os.fspath(path)


def absolute(path: Path) -> Path:
    """The same place, wherever the process goes."""
    return path if is_remote(path) else path.absolute()


def size_of(path: Path) -> int:
    """The bytes of a file."""
    about: Any = path.stat()
    return about.length if is_remote(path) else about.st_size


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file entirely or not at all."""

    def write(file: BinaryIO) -> None:
        file.write(data)

    write_whole(path, write)


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes a file entirely or not at all: to a temporary neighbour that then takes the name, or as one object."""
    if is_remote(path):
        return _put(path, write)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _neighbour(path)
    try:
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, path)
    except PermissionError as error:  # names the file that was asked for
        raise PermissionError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which has the name ``path`` when all is in it.

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
    """For a writer that knows folders of this machine alone: ``path``, or one whose files are put there at the end."""
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
