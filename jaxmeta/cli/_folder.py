"""Flags that name a run folder, on this machine or in an object store, and the recipe of its run."""

from pathlib import Path
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from jaxmeta.recipe import Recipe
from jaxmeta.recipes import find
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


def own_recipe(reference: str | None) -> Recipe | None:
    """Import the recipe that the user named with ``--recipe``."""
    return None if reference is None else find(reference)
