"""What was learned, to ship and to start from.

A checkpoint is a folder: ``arrays`` (orbax) and ``checkpoint.json``, which says which format it is.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..storage import absolute, as_path, is_remote, write_bytes
from ..types import Variables
from ._leaves import by_name, check_leaves, damaged, quiet

FORMAT = 1
_ABOUT, _ARRAYS = "checkpoint.json", "arrays"


def save(path: str | os.PathLike, meta: Variables) -> None:
    """Writes a learner's meta-parameters, entirely or not at all; an older checkpoint of that name is replaced.

    Of several processes, all of which may call it, the first one writes.

    Args:
      path: the folder to make; ``gs://...`` is fine.
      meta: what `fit` leaves in ``state.meta``.

    Raises:
      ValueError: if ``path`` exists and is not a checkpoint, or ``meta`` holds no arrays.

    Example:
      >>> import tempfile
      >>> folder = tempfile.mkdtemp() + "/params"
      >>> save(folder, Variables({"w": np.ones(3)}))
      >>> restore(folder, Variables({"w": np.zeros(3)})).params["w"].tolist()
      [1.0, 1.0, 1.0]
    """
    target, leaves = absolute(as_path(path)), {name: np.asarray(leaf) for name, leaf in by_name(meta).items()}
    if not leaves:
        raise ValueError("`meta` holds no arrays, so there is nothing to save.")
    if jax.process_index() != 0:
        return
    if target.exists() and not _may_replace(target):
        raise ValueError(f"`path`: {str(path)!r} exists and is not a checkpoint; it is left as it is. Choose another.")
    if is_remote(target):
        return _write_beside(target, leaves)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        _write(temporary, _ARRAYS, leaves)
        _take_name(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def restore(path: str | os.PathLike, like: Variables, *, only: Callable[[str], bool] | None = None) -> Variables:
    """Reads meta-parameters into the structure of ``like``.

    Args:
      path: a folder that `save` made.
      like: variables of the same learner, arrays or `jax.ShapeDtypeStruct`: ``jax.eval_shape(learner.init, key, task)``
        is enough, and so is a fresh ``init(...).meta``.
      only: predicate on a leaf's path (``"params/conv0/kernel"``): leaves that it does not choose stay those of
        ``like``, which must then be arrays. For a backbone under another head:
        ``only=lambda path: "head" not in path``.

    Raises:
      ValueError: if there is no checkpoint, it is damaged or of an unknown format, ``only`` chooses nothing, or it is
        another model's: then the leaves that differ are named.
    """
    folder, mine = absolute(as_path(path)), by_name(like)
    arrays = folder / _arrays_of(folder)
    wanted = {name: leaf for name, leaf in mine.items() if only is None or only(name)}
    if not wanted:
        raise ValueError(f"`only` chooses none of the leaves of `like`, so nothing would be read: {list(mine)}.")
    with _orbax() as checkpointer:
        try:
            found = checkpointer.metadata(arrays).item_metadata.tree
        except Exception as error:  # orbax and tensorstore raise a dozen types on damaged files
            raise ValueError(damaged(folder, error)) from error
        check_leaves(folder, found if only is None else {n: leaf for n, leaf in found.items() if only(n)}, wanted)
        try:
            shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in found.items()}
            leaves = checkpointer.restore(arrays, shapes)
        except Exception as error:
            raise ValueError(damaged(folder, error)) from error
    # As if made here: orbax commits arrays to a device, and jit would compile everything once more for those.
    read = {name: jnp.asarray(np.asarray(leaves[name])) for name in wanted}
    return jax.tree.unflatten(jax.tree.structure(like), [read.get(name, leaf) for name, leaf in mine.items()])


def _may_replace(target: Path) -> bool:
    """A checkpoint, an empty folder, and in an object store what a killed `save` has left."""
    if (target / _ABOUT).is_file():
        return True
    inside = list(target.iterdir()) if target.is_dir() else [target]
    return all(is_remote(target) and path.name.startswith(_ARRAYS) for path in inside)


def _write(folder: Path, arrays: str, leaves: dict[str, np.ndarray]) -> None:
    """What makes it a checkpoint comes last."""
    with _orbax() as checkpointer:
        checkpointer.save(folder / arrays, leaves)
    elsewhere = {} if arrays == _ARRAYS else {"arrays": arrays}
    text = json.dumps({"format": FORMAT, "kind": "jaxmeta.Variables", **elsewhere}) + "\n"
    write_bytes(folder / _ABOUT, text.encode())


def _write_beside(target: Path, leaves: dict[str, np.ndarray]) -> None:
    """An object store renames nothing: arrays come under a name of their own, and one small file then says which."""
    arrays = f"{_ARRAYS}-{uuid.uuid4().hex}"
    _write(target, arrays, leaves)
    older: Any = [path for path in target.iterdir() if path.name.startswith(_ARRAYS) and path.name != arrays]
    for path in older:
        path.rmtree()


def _arrays_of(folder: Path) -> str:
    """The name of the arrays in a checkpoint, whose format is checked."""
    if not folder.is_dir():
        raise ValueError(f"`path`: there is no checkpoint at {str(folder)!r}. Check the path.")
    try:
        about = json.loads((folder / _ABOUT).read_text())
        version, arrays = about["format"], str(about.get("arrays", _ARRAYS))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`path`: {str(folder)!r} is not a checkpoint of jaxmeta: its {_ABOUT} is missing or damaged ({error!r})."
        ) from error
    if version != FORMAT:
        raise ValueError(
            f"`path`: {str(folder)!r} is a checkpoint of format {version!r}; this version of jaxmeta reads format "
            f"{FORMAT}. Restore it with the version that wrote it."
        )
    if not re.fullmatch(rf"{_ARRAYS}(-[0-9a-f]+)?", arrays):
        raise ValueError(f"`path`: {str(folder)!r} is damaged: its {_ABOUT} names {arrays!r} as its arrays.")
    return arrays


def _take_name(temporary: Path, target: Path) -> None:
    """A folder cannot replace a folder that has content: the old one steps aside first."""
    aside = temporary.with_suffix(".old")
    if target.exists():
        os.replace(target, aside)
    os.replace(temporary, target)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _orbax() -> Iterator:
    """A checkpointer of this process alone: of several, the first writes, and each reads for itself."""
    import orbax.checkpoint as ocp

    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}, barrier_sync_key_prefix=str(me))
    with quiet(), ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
        yield checkpointer
        checkpointer.wait_until_finished()
