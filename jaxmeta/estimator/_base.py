"""The base of both estimators: the learner, adaptation to a support set, and predictions in padded batches.

Letters: N examples, W ways, B rows of a padded batch.
"""

# pyright: reportConstantRedefinition=false
import pickle
import sys
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxmeta.models import inductive
from jaxmeta.runs import Trained
from jaxmeta.types import Batch, MetaLearner, Task, Variables

from ._arrays import Inputs, advice, check_pixels, check_range, check_units, inputs_for, padded
from ._compiled import compiled


class FewShot(BaseEstimator):
    """A learner that adapts to support sets; the two estimators add the targets."""

    X_: np.ndarray
    y_: np.ndarray
    meta_: Variables
    adapted_: Any
    inputs_: Inputs
    task_: Task

    def __init__(
        self,
        learner: MetaLearner | Trained | None = None,
        meta: Variables | None = None,
        *,
        batch_size: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.learner = learner
        self.meta = meta
        self.batch_size = batch_size
        self.random_state = random_state

    def _default(self) -> MetaLearner:
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Name the way to keep an estimator, where pickle would fail on a learner's closures."""
        if self.learner is not None and not _copies_closures():
            for function in self._given():
                if "<locals>" in getattr(function, "__qualname__", "<locals>"):
                    raise pickle.PicklingError(
                        "pickle cannot take a learner, which is made of closures. `estimator.save(path)` keeps it, and "
                        f"`{type(self).__name__}.load(path, learner=...)` reads it; cloudpickle takes it too."
                    )
        return super().__reduce_ex__(protocol)

    def _given(self) -> MetaLearner:
        """Return the learner as it was given."""
        if isinstance(self.learner, Trained):
            return self.learner.learner
        return self._default() if self.learner is None else self.learner

    def _pure(self) -> MetaLearner:
        """Return the learner whose predictions do not depend on one another through BatchNorm."""
        return apart(self._given())

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of an example in training; None for a learner of your own."""
        x = self._example("x")
        return None if x is None else tuple(x.shape[1:])

    def _example(self, field: str) -> Any:
        """Return shape and dtype of a training task's inputs or targets, if they are known and one array."""
        if not isinstance(self.learner, Trained):
            return None
        leaf = getattr(self.learner.task.support or self.learner.task.query, field)
        return leaf if hasattr(leaf, "shape") else None

    def _check(self, X: np.ndarray, *, reset: bool) -> np.ndarray:
        """Check examples ``[N, ...]`` that scikit-learn has validated."""
        expected = self.input_shape if reset else self.X_.shape[1:]
        if expected is not None and X.shape[1:] != expected:
            raise ValueError(
                f"`X` has examples of shape {X.shape[1:]}, but this learner takes {expected}. {advice(X, expected)}"
            )
        if not reset:
            check_units(self.X_, X, self.inputs_)
        check_range("X", X)
        check_pixels(X, self.input_shape)
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1 or None, got {self.batch_size}.")
        return X

    def _adapt(self, X: np.ndarray, y: np.ndarray, ways: Any = None) -> None:
        """Adapt to a support set; without meta-parameters the learner starts from random ones."""
        learner = self._pure()
        inputs = inputs_for(X, self._example("x"), numbers=self.learner is None)
        support = Batch(inputs(X), y, ways=ways)
        meta = self._start(learner, support)
        support = widened(learner, meta, support)
        self.adapted_ = compiled(learner).adapt(meta, support)
        self.meta_, self.task_ = meta, jax.eval_shape(lambda: Task(support, support))
        self.inputs_ = inputs

    def _start(self, learner: MetaLearner, support: Batch) -> Variables:
        trained = isinstance(self.learner, Trained)
        if trained and self.meta is not None:
            raise ValueError("`meta` must be None where `learner` is a `Trained`, which has its own.")
        if isinstance(self.learner, Trained):
            return self.learner.meta
        if self.meta is not None:
            return self.meta
        return learner.init(jax.random.key(self.random_state), Task(support, support))

    def _outputs(self, X: Any) -> Any:
        """Return the learner's outputs for examples, as numpy arrays."""
        check_is_fitted(self, "adapted_")
        X = validate_data(self, X, reset=False, allow_nd=True, dtype="numeric")
        x = self.inputs_(self._check(X, reset=False))
        size = self.batch_size or len(x)
        parts = [self._part(x[i : i + size]) for i in range(0, len(x), size)]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

    def _part(self, x: np.ndarray) -> Any:
        weight = padded(np.ones(len(x), np.float32))
        outputs = compiled(self._pure()).predict(self.meta_, self.adapted_, padded(x), weight=weight)
        return jax.tree.map(lambda array: np.asarray(array)[: len(x)], outputs)


@lru_cache(maxsize=16)
def apart(learner: MetaLearner) -> MetaLearner:
    """Return the inductive learner; the same one for the same learner, so that nothing compiles twice."""
    return inductive(learner)


@lru_cache(maxsize=16)
def on_support(learner: MetaLearner) -> Any:
    """Return the function to the outputs for the support set itself, of which only the shape is taken."""
    return jax.jit(lambda meta, support: learner.predict(meta, learner.adapt(meta, support), support.x))


def widened(learner: MetaLearner, meta: Variables, support: Batch) -> Batch:
    """Return the support set with as many ways as the learner's head has outputs, if that number is fixed.

    Raises:
      ValueError: if there are more classes than outputs.
    """
    if support.ways is None:
        return support
    given, fixed = len(support.ways), fixed_ways(learner, meta, support)
    if fixed is not None and fixed < given:
        raise ValueError(
            f"`y` has {given} classes, but this learner's head has {fixed} outputs. Choose fewer classes, train with "
            f"`num_ways={given}`, or take a learner that reads features (protonet, r2d2 ...), which takes any number."
        )
    return support._replace(ways=np.pad(support.ways, (0, (fixed or given) - given)))


def fixed_ways(learner: MetaLearner, meta: Variables, support: Batch) -> int | None:
    """Return the number of outputs of a head of fixed size, from shapes alone; None for other learners."""
    try:
        return on_support(learner).eval_shape(meta, support._replace(ways=None)).shape[-1]
    except ValueError:  # without ways, a learner that reads features cannot know how many there are
        return None


def _copies_closures() -> bool:
    """Return whether the caller is `copy`, or a pickler that takes closures (cloudpickle, dill), as its frames tell."""
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module == "copy" or not {"cloudpickle", "dill"}.isdisjoint(module.split(".")):
            return True
        frame = frame.f_back
    return False
