"""One owner of a run folder at a time: a lock that names its holder and outlives no process.

On a file system the lock is `flock` on the file ``.owner.json``: the system releases it when its process ends, however
that happens, and the file is removed when the run ends. A file that a killed process left is taken over.

An object store has no locks. There the newest owner writes its name into ``.owner.json``, and an older one that still
lives notices before its next checkpoint, writes nothing more and stops.
"""

import errno
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..storage import is_remote, write_bytes
from ._json import read_json

OWNER = ".owner.json"
_UNSUPPORTED = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}
_LEFTOVER = re.compile(r"\..+\.(tmp|old)")


class InUse(ValueError):
    """Another process trains into the run folder."""


@dataclass
class Owner:
    """The holder of a run folder.

    Attributes:
      folder: the run folder.
      me: host, process and start, and a random mark.
    """

    folder: Path
    me: dict[str, Any]

    def check(self) -> None:
        """Raise `InUse` if another process has taken over a folder in an object store."""
        if is_remote(self.folder) and (other := _read(self.folder)) != self.me:
            raise InUse(f"{str(self.folder)!r} was taken over by {in_words(other)}; this process writes nothing more.")


@contextmanager
def owned(folder: Path) -> Iterator[Owner]:
    """Hold a run folder, which exists, and remove what killed owners left half-written in it.

    Raises:
      InUse: if another process holds it; the message names host, process and since when.
    """
    since = datetime.now(UTC).isoformat(timespec="seconds")
    owner = Owner(
        folder, {"host": socket.gethostname(), "process": os.getpid(), "since": since, "mark": uuid.uuid4().hex}
    )
    if is_remote(folder):
        write_bytes(folder / OWNER, _text(owner))
        try:
            yield owner
        finally:
            with suppress(OSError, ValueError):
                if _read(folder) == owner.me:
                    (folder / OWNER).unlink()
        return
    descriptor = _locked(folder)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _text(owner))
        _clean(folder)
        yield owner
    finally:
        with suppress(OSError):
            os.unlink(folder / OWNER)  # still locked, so nobody else holds this file
        os.close(descriptor)


def in_words(owner: Any) -> str:
    """Name a holder.

    Example:
      >>> in_words({"host": "a", "process": 7, "since": "2026-01-01T00:00:00+00:00"})
      "process 7 on 'a' (since 2026-01-01T00:00:00+00:00)"
    """
    if not isinstance(owner, dict):
        return "another process"
    word = lambda name: "".join(c for c in str(owner.get(name, "?")) if c.isprintable())[:80]
    return f"process {word('process')} on {word('host')!r} (since {word('since')})"


def _locked(folder: Path) -> int:
    """Open and lock the owner's file. Another owner may remove it in between: then open it anew."""
    path = folder / OWNER
    while True:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags, 0o666)
        try:
            if not _lock(descriptor):
                raise InUse(
                    f"{str(folder)!r} is in use by {in_words(_read(folder))}. Wait until it has ended, or stop it."
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file for this process and return whether that was possible; True where the file system knows no locks."""
    try:
        if os.name == "nt":
            import msvcrt  # pyright: ignore

            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the text, which others may read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _UNSUPPORTED
    return True


def _read(folder: Path) -> Any:
    try:
        return read_json(folder / OWNER)
    except (OSError, ValueError):
        return None


def _text(owner: Owner) -> bytes:
    return (json.dumps(owner.me) + "\n").encode()


def _clean(folder: Path) -> None:
    """Remove temporary files and folders of killed owners; those of checkpoints too."""
    for inside in (folder, folder / "checkpoints"):
        for entry in os.scandir(inside) if inside.is_dir() and not inside.is_symlink() else ():
            if not (_LEFTOVER.fullmatch(entry.name) or ".orbax-checkpoint-tmp" in entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)
