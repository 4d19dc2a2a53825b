"""An object store as far as paths go, in a folder: where tests of run folders elsewhere write without a server."""

import os
import sys
from pathlib import Path
from typing import Any

from etils import epath

PosixPath: Any = type(epath.Path("/"))
NAME = "shelf://"


@epath.register_path_cls(NAME)
class Shelf(PosixPath):
    """To jaxmeta an address, which ``open`` and ``os`` know nothing of; to orbax the folder behind it."""

    folder: Path

    if sys.version_info < (3, 12):

        def __new__(cls, *parts):
            return super().__new__(cls, *map(cls._behind, parts))

    else:

        def __init__(self, *parts):
            super().__init__(*map(self._behind, parts))

    @classmethod
    def _behind(cls, part) -> str:
        return os.fspath(part).replace(NAME, f"{cls.folder}/")

    def __fspath__(self) -> str:
        return self._path_str.replace(f"{self.folder}/", NAME)

    def write_bytes(self, data: bytes) -> int:
        self.parent.mkdir(parents=True, exist_ok=True)
        return Path(self._path_str).write_bytes(data)

    def rename(self, target: Any) -> Any:
        Path(self._path_str).rename(target._path_str)
        return target
