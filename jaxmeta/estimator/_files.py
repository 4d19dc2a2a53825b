"""An estimator as a folder, which is a run folder with a support set; and its predictor as one program."""

import inspect
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import jax
import jax.export
import numpy as np

from jaxmeta import checkpoint, runs
from jaxmeta.datasets._files import write_whole
from jaxmeta.learner import weighted_predict
from jaxmeta.runs import Config, Trained, write_config
from jaxmeta.types import MetaLearner

from ._base import FewShot, as_inputs

SUPPORT = "support.npz"


def load(cls: type, path: str | os.PathLike, learner: MetaLearner | None, options: dict) -> tuple[Any, tuple | None]:
    """An estimator, and the support set that it was saved with."""
    known = inspect.signature(runs.load).parameters
    own = {name: value for name, value in options.items() if name not in known}
    trained = runs.load(path, learner=learner, **{n: v for n, v in options.items() if n in known})
    file = Path(path) / SUPPORT
    return cls(trained, **own), _read(file) if file.is_file() else None


def save(estimator: FewShot, path: str | os.PathLike, support: dict[str, np.ndarray] | None) -> None:
    """Writes the folder entirely or not at all."""
    target, trained = Path(path), estimator.learner
    if target.exists():
        raise ValueError(f"`path`: {str(path)!r} exists, and nothing is overwritten. Choose another name.")
    if support is None and not isinstance(trained, Trained):
        raise ValueError("There is nothing to save yet: call `fit` first, or `load` a run folder.")
    config = trained.config if isinstance(trained, Trained) else Config(None, {}, 0, task=estimator.task_)
    temporary = target.absolute().with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir(parents=True)
    try:
        write_config(temporary, config)
        checkpoint.save(temporary / "params", trained.meta if isinstance(trained, Trained) else estimator.meta_)
        if support is not None:
            write_whole(temporary / SUPPORT, lambda file: np.savez_compressed(file, **plain(support)))
        os.rename(temporary, target)
    finally:
        rmtree(temporary, ignore_errors=True)


def export(estimator: FewShot, path: str | os.PathLike, read: Callable, platforms: tuple[str, ...]) -> None:
    """The adapted predictor for any number of examples, as a serialised program."""
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator, "adapted_")
    predict, meta, adapted = weighted_predict(estimator._pure()), estimator.meta_, estimator.adapted_
    program = jax.jit(lambda x: read(predict(meta, adapted, as_inputs(x))))
    dtype = np.uint8 if estimator.X_.dtype == np.uint8 else np.float32
    shape = jax.export.symbolic_shape("examples") + estimator.X_.shape[1:]
    exported = jax.export.export(program, platforms=platforms)(jax.ShapeDtypeStruct(shape, dtype))
    write_whole(Path(path), lambda file: file.write(exported.serialize()))


def plain(support: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays that need no pickle: labels that are Python strings become a string array.

    Raises:
      ValueError: for labels that are other objects.
    """
    classes = support.get("classes")
    if classes is None or classes.dtype != object:
        return support
    if not all(isinstance(label, str) for label in classes):
        raise ValueError(f"Labels must be strings or numbers to be saved, got {classes.tolist()!r}.")
    return {**support, "classes": classes.astype(str)}


def _read(file: Path) -> tuple:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            X, y = arrays["X"], arrays["y"]
            return (X, arrays["classes"][y], arrays["classes"]) if "classes" in arrays else (X, y)
    except Exception as error:  # numpy and zipfile raise a dozen types on damaged files
        raise ValueError(f"`path`: {str(file)!r} is damaged or not a support set ({error}).") from error
