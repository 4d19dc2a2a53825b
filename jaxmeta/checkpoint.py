"""Saving and restoring what was learned, through orbax: arrays and JSON, never pickle.

A checkpoint is a folder: ``arrays`` (orbax) and ``checkpoint.json``, which says which format it is.
"""

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from .types import Variables

FORMAT = 1
_ABOUT, _ARRAYS = "checkpoint.json", "arrays"


def save(path: str | os.PathLike, meta: Variables) -> None:
    """Writes a learner's meta-parameters, entirely or not at all; an older checkpoint of that name is replaced.

    Args:
      path: the folder to make.
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
    target, leaves = Path(path).absolute(), _named(meta)
    if not leaves:
        raise ValueError("`meta` holds no arrays, so there is nothing to save.")
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]) and not (target / _ABOUT).is_file():
        raise ValueError(f"`path`: {str(path)!r} exists and is not a checkpoint; it is left as it is. Choose another.")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _orbax() as checkpointer:
            checkpointer.save(temporary / _ARRAYS, leaves)
        (temporary / _ABOUT).write_text(json.dumps({"format": FORMAT, "kind": "jaxmeta.Variables"}) + "\n")
        _take_name(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def restore(path: str | os.PathLike, like: Variables) -> Variables:
    """Reads meta-parameters into the structure of ``like``.

    Args:
      path: a folder that `save` made.
      like: variables of the same learner, arrays or `jax.ShapeDtypeStruct`: ``jax.eval_shape(learner.init, key, task)``
        is enough, and so is a fresh ``init(...).meta``.

    Raises:
      ValueError: if there is no checkpoint, it is damaged or of an unknown format, or it is another model's: then
        the leaves that differ are named.
    """
    folder = Path(path).absolute()
    _check_format(folder)
    wanted = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in _named(like).items()}
    with _orbax() as checkpointer:
        try:
            found = checkpointer.metadata(folder / _ARRAYS).item_metadata.tree
        except Exception as error:  # orbax and tensorstore raise a dozen types on damaged files
            raise ValueError(_damaged(folder, error)) from error
        _check_leaves(folder, found, wanted)
        try:
            leaves = checkpointer.restore(folder / _ARRAYS, wanted)
        except Exception as error:
            raise ValueError(_damaged(folder, error)) from error
    # As if made here: orbax commits arrays to a device, and jit would compile everything once more for those.
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(np.asarray(leaves[name])) for name in wanted])


def _named(tree: Variables) -> dict:
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _check_format(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"`path`: there is no checkpoint at {str(folder)!r}. Check the path.")
    try:
        about = json.loads((folder / _ABOUT).read_text())
        version = about["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`path`: {str(folder)!r} is not a checkpoint of jaxmeta: its {_ABOUT} is missing or damaged ({error!r})."
        ) from error
    if version != FORMAT:
        raise ValueError(
            f"`path`: {str(folder)!r} is a checkpoint of format {version!r}; this version of jaxmeta reads format "
            f"{FORMAT}. Restore it with the version that wrote it."
        )


def _check_leaves(folder: Path, found: dict, wanted: dict) -> None:
    """Names the leaves that tell two models apart."""
    differ = [f"missing: {name}" for name in wanted if name not in found]
    differ += [f"unexpected: {name}" for name in found if name not in wanted]
    for name in wanted.keys() & found.keys():
        have, want = (f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}" for leaf in (found[name], wanted[name]))
        differ += [f"{name}: {have} instead of {want}"] if have != want else []
    if differ:
        more = f" ... and {len(differ) - 8} more" if len(differ) > 8 else ""
        raise ValueError(
            f"`path`: {str(folder)!r} holds another model than `like`. {'; '.join(sorted(differ)[:8])}{more}. "
            "Build the learner with the arguments it was trained with."
        )


def _damaged(folder: Path, error: Exception) -> str:
    return f"`path`: the checkpoint {str(folder)!r} is damaged or cut short ({str(error).splitlines()[0][:200]!r})."


def _take_name(temporary: Path, target: Path) -> None:
    """A folder cannot replace a folder that has content: the old one steps aside first."""
    aside = temporary.with_suffix(".old")
    if target.exists():
        os.replace(target, aside)
    os.replace(temporary, target)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _orbax() -> Iterator:
    """A checkpointer; orbax logs every file it touches, so it is told to speak of errors only."""
    import orbax.checkpoint as ocp

    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            yield checkpointer
            checkpointer.wait_until_finished()
    finally:
        logger.setLevel(level)
