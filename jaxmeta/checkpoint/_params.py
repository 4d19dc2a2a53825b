"""Meta-parameters, to ship and to start from.

A checkpoint is a folder: ``arrays`` (orbax) and ``checkpoint.json``, which holds the format and the name of the arrays.
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

from ..storage import absolute, as_path, check_tree, is_remote, read_json, write_bytes
from ..types import Variables
from ._leaves import by_name, check_leaves, check_size, damaged, first_line, quiet

FORMAT = 1
_ABOUT, _ARRAYS = "checkpoint.json", "arrays"


def save(path: str | os.PathLike[str], meta: Variables) -> None:
    """Write a learner's meta-parameters, entirely or not at all; an older checkpoint of that name is replaced.

    Of several processes, all of which may call it, the first one writes.

    Args:
      path: the folder to make; ``gs://...`` is fine.
      meta: the meta-parameters, such as ``state.meta``.

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
    if is_remote(target) or (target.is_dir() and any(target.iterdir())):
        return _write_beside(target, leaves)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        _write(temporary, _ARRAYS, leaves)
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(f"{str(target)!r} could not be written ({first_line(error)}). Make room there.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def restore(path: str | os.PathLike[str], like: Variables, *, only: Callable[[str], bool] | None = None) -> Variables:
    """Read meta-parameters into the structure of ``like``.

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
    check_tree(folder)
    arrays = folder / _arrays_of(folder)
    wanted = {name: leaf for name, leaf in mine.items() if only is None or only(name)}
    if not wanted:
        raise ValueError(f"`only` chooses none of the leaves of `like`, so nothing would be read: {list(mine)}.")
    with _orbax() as checkpointer:
        try:
            found = checkpointer.metadata(arrays).item_metadata.tree
        except Exception as error:  # orbax and tensorstore raise a dozen types on damaged files
            raise ValueError(damaged(folder, error)) from error
        check_size(folder, found)
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
    """Return whether a folder is a checkpoint, empty, or what a killed `save` has left in an object store."""
    if (target / _ABOUT).is_file():
        return True
    inside = list(target.iterdir()) if target.is_dir() else [target]
    return all(is_remote(target) and path.name.startswith(_ARRAYS) for path in inside)


def _write(folder: Path, arrays: str, leaves: dict[str, np.ndarray]) -> None:
    """Write the arrays, and last the file that makes the folder a checkpoint."""
    with _orbax() as checkpointer:
        checkpointer.save(folder / arrays, leaves)
    elsewhere = {} if arrays == _ARRAYS else {"arrays": arrays}
    text = json.dumps({"format": FORMAT, "kind": "jaxmeta.Variables", **elsewhere}) + "\n"
    write_bytes(folder / _ABOUT, text.encode())


def _write_beside(target: Path, leaves: dict[str, np.ndarray]) -> None:
    """Write arrays under a new name; then one small file, replaced in one instant, names them.

    A folder cannot replace a folder that has content, and an object store renames nothing. Here one of the two
    checkpoints is whole at every instant; what a killed `save` left is removed.
    """
    arrays = f"{_ARRAYS}-{uuid.uuid4().hex}"
    try:
        _write(target, arrays, leaves)
    except OSError as error:
        raise OSError(
            f"{str(target)!r} could not be written ({first_line(error)}); the checkpoint before is whole."
        ) from error
    older: Any = [path for path in target.iterdir() if path.name.startswith(_ARRAYS) and path.name != arrays]
    for path in older:
        path.rmtree() if is_remote(target) else shutil.rmtree(path, ignore_errors=True)


def _arrays_of(folder: Path) -> str:
    """Check the format of a checkpoint and return the name of its arrays."""
    if not folder.is_dir():
        raise ValueError(f"`path`: there is no checkpoint at {str(folder)!r}. Check the path.")
    try:
        about = read_json(folder / _ABOUT)
        version, arrays = about["format"], str(about.get("arrays", _ARRAYS))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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


@contextmanager
def _orbax() -> Iterator[Any]:
    """Yield a checkpointer of this process alone: of several, the first writes, and each reads for itself."""
    import orbax.checkpoint as ocp

    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}, barrier_sync_key_prefix=str(me))
    with quiet(), ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
        yield checkpointer
        checkpointer.wait_until_finished()
