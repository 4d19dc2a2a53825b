"""Download one file: with progress, resumed after a break, and complete or not at all."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, BinaryIO

ATTEMPTS = 4
_CHUNK = 1 << 16


def download(url: str, path: Path, *, sha256: str | None = None) -> None:
    """Fetch `url` to `path`. A download that breaks off stays in ``<path>.part``, and the next call continues it.

    The file's SHA-256 is recorded in ``<path>.sha256``.

    Args:
      url: where the file is.
      path: where it goes; its folder is made.
      sha256: the expected checksum in hexadecimal digits, if known.

    Raises:
      OSError: if the server cannot be reached, or breaks off `ATTEMPTS` times; if the file cannot be written.
      ValueError: if the checksum differs; the file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(ATTEMPTS):
        try:
            if _fetch(url, part):
                break
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS - 1 or (isinstance(error, urllib.error.HTTPError) and error.code < 500):
                raise OSError(f"`download`: {url} could not be fetched ({error}). {_advice(path)}") from error
        time.sleep(0.2 * attempt)
    else:
        raise OSError(f"`download`: {url} broke off {ATTEMPTS} times. {_advice(path)}")
    digest = _digest(part)
    if sha256 is not None and digest != sha256:
        part.unlink()
        raise ValueError(
            f"`download`: the file at {url} has sha256 {digest}, expected {sha256}; it was damaged on the "
            f"way or has changed, and was removed. {_advice(path)}"
        )
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")
    os.replace(part, path)


def _fetch(url: str, part: Path) -> bool:
    """Continue `part`, and return whether it is complete."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # nothing there to continue with: begin anew
            part.unlink()
            return False
        raise
    with response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        if response.status == 206 and not resumed:
            part.unlink()
            return False
        length = response.headers.get("Content-Length")
        done = done if resumed else 0
        total = None if length is None else done + int(length)
        with open(part, "ab" if resumed else "wb") as file:
            done = _copy(response, file, part.stem, done, total)
    return total is None or done == total


def _copy(response: Any, file: BinaryIO, name: str, done: int, total: int | None) -> int:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task(name, total=total, completed=done)
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            progress.update(bar, completed=done)
    return done


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _advice(path: Path) -> str:
    return f"Call again to go on, or fetch the file by other means and put it at {str(path)!r}."
