"""Save an estimator as a folder, which is a run folder with a support set; export its predictor as one program."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxmeta import checkpoint, runs
from jaxmeta.datasets._images import check_memory
from jaxmeta.learner import predict_rows
from jaxmeta.recipe import Recipe
from jaxmeta.runs import Config, Trained, write_config
from jaxmeta.storage import as_path, new_folder, size_of, write_bytes, write_whole
from jaxmeta.types import MetaLearner, Task

from ._base import FewShot

SUPPORT = "support.npz"
MAX_SUPPORT = 1 << 30  # bytes of its arrays, of which there may be many times those of the file


def load(
    path: str | os.PathLike[str],
    *,
    classifies: bool,
    learner: MetaLearner | None,
    num_steps: int | None,
    data_dir: str | None,
    recipe: Recipe | None,
) -> tuple[Trained, tuple[Any, ...] | None]:
    """Read a run folder, or a saved estimator with its support set, as `partial_fit` takes it."""
    trained = runs.load(path, learner=learner, recipe=recipe, num_steps=num_steps, data_dir=data_dir)
    _check_kind(trained.task, path, classifies=classifies)
    file = as_path(path) / SUPPORT
    return trained, _read(file, classifies) if file.is_file() else None


def _check_kind(task: Task, path: str | os.PathLike[str], *, classifies: bool) -> None:
    y = (task.support or task.query).y
    if not hasattr(y, "dtype"):
        raise ValueError(f"`path`: the tasks of {str(path)!r} have no single array of targets, as estimators need.")
    labels = jnp.issubdtype(y.dtype, jnp.integer)
    if labels != classifies:
        what, instead = ("labels", "FewShotClassifier") if labels else ("numbers", "FewShotRegressor")
        raise ValueError(f"`path`: {str(path)!r} was trained to predict {what}. Load it with `jaxmeta.{instead}`.")


def save(estimator: FewShot, path: str | os.PathLike[str], support: dict[str, np.ndarray] | None) -> None:
    """Write the folder entirely or not at all."""
    target, trained = as_path(path), estimator.learner
    if target.exists():
        raise ValueError(f"`path`: {str(path)!r} exists, and nothing is overwritten. Choose another name.")
    if support is None and not isinstance(trained, Trained):
        raise ValueError("There is nothing to save yet: call `fit` first, or `load` a run folder.")
    _check_size(sum(array.nbytes for array in (support or {}).values()))
    config = trained.config if isinstance(trained, Trained) else Config(None, {}, 0, task=estimator.task_)
    with new_folder(target) as folder:
        meta = trained.meta if isinstance(trained, Trained) else estimator.meta_
        if jax.tree.leaves(meta):  # prototypes of the inputs themselves have none
            checkpoint.save(folder / "params", meta)
        if support is not None:
            arrays: Any = without_objects(support)
            write_whole(folder / SUPPORT, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
        write_config(folder, config)  # which makes it a run folder


def export(
    estimator: FewShot, path: str | os.PathLike[str], read: Callable[[Any], jax.Array], platforms: tuple[str, ...]
) -> None:
    """Write the adapted predictor for any number of examples, as a serialised program."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator, "adapted_")
    learner = estimator._pure()  # pyright: ignore[reportPrivateUsage]
    meta, adapted = estimator.meta_, estimator.adapted_
    inputs = estimator.inputs_
    program = jax.jit(lambda x: read(predict_rows(learner, meta, adapted, inputs(x))))
    dtype = np.uint8 if estimator.X_.dtype == np.uint8 and inputs.scales else inputs.dtype
    shape = (*jax.export.symbolic_shape("examples"), *estimator.X_.shape[1:])
    exported = jax.export.export(program, platforms=platforms)(jax.ShapeDtypeStruct(shape, dtype))
    write_bytes(as_path(path), bytes(exported.serialize()))


def without_objects(support: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays that need no pickle: labels that are Python strings become a string array."""
    return {name: array.astype(str) if array.dtype == object else array for name, array in support.items()}


def _check_size(size: int) -> None:
    if size > MAX_SUPPORT:
        raise ValueError(f"the support set has {size} bytes, more than the {MAX_SUPPORT} that a folder may hold.")


def _read(file: Path, classifies: bool) -> tuple[Any, ...]:
    """Read examples and targets, and the classes, as `partial_fit` takes them."""
    try:
        with file.open("rb") as opened, zipfile.ZipFile(opened) as archive:
            size = sum(member.file_size for member in archive.infolist())
            _check_size(size)
            check_memory(size, size_of(file), repr(str(file)))
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            X, y = arrays["X"], arrays["y"]
            return (X, arrays["classes"][y], arrays["classes"]) if classifies else (X, y)
    except Exception as error:  # numpy and zipfile raise a dozen types on damaged files
        raise ValueError(f"`path`: {str(file)!r} is damaged or not a support set ({error}).") from error
