"""The type of a flag that names a run folder, on this machine or in an object store."""

from pathlib import Path
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from jaxmeta.storage import as_path


def _named(words: list[str]) -> Path:
    try:
        return as_path(words[0])
    except ValueError as error:  # which tyro would bury among words of its own
        raise OSError(str(error)) from error


Folder = Annotated[  # a flag that names a run folder, here or in an object store
    Path,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=_named,
        is_instance=lambda value: hasattr(value, "__fspath__"),
        str_from_instance=lambda path: [str(path)],
    ),
]
