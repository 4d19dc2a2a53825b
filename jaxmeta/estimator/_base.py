"""What both estimators share: the learner, adaptation to a support set, and predictions in padded batches.

Letters: N examples, W ways, B rows of a padded batch.
"""

from functools import lru_cache
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxmeta.learner import weighted_predict
from jaxmeta.runs import Trained
from jaxmeta.types import Batch, MetaLearner, Task, Variables

from ._arrays import advice, as_inputs, check_pixels, check_range, check_units, padded


class FewShot(BaseEstimator):
    """A learner that adapts to support sets; the two estimators add what their targets are."""

    X_: np.ndarray
    y_: np.ndarray
    meta_: Variables
    adapted_: Any

    def __init__(
        self,
        learner: MetaLearner | Trained | None = None,
        meta: Variables | None = None,
        *,
        batch_size: int | None = None,
        random_state: int = 0,
    ):
        self.learner = learner
        self.meta = meta
        self.batch_size = batch_size
        self.random_state = random_state

    def _default(self) -> MetaLearner:
        raise NotImplementedError

    def _pure(self) -> MetaLearner:
        """The learner itself."""
        if isinstance(self.learner, Trained):
            return self.learner.learner
        return self._default() if self.learner is None else self.learner

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of an example, where training has told it; None for a learner of one's own."""
        x = self._example("x")
        return None if x is None else tuple(x.shape[1:])

    def _example(self, what: str) -> Any:
        """Shapes of a training task's inputs or targets, where they are known and one array."""
        if not isinstance(self.learner, Trained):
            return None
        leaf = getattr(self.learner.task.support or self.learner.task.query, what)
        return leaf if hasattr(leaf, "shape") else None

    def _check(self, X: Any, *, reset: bool) -> np.ndarray:
        """Examples as an array, ``[N, ...]``."""
        X = validate_data(self, X, reset=reset, allow_nd=True, dtype="numeric")
        expected = self.input_shape if reset else self.X_.shape[1:]
        if expected is not None and X.shape[1:] != expected:
            raise ValueError(
                f"`X` has examples of shape {X.shape[1:]}, but this learner takes {expected}. {advice(X, expected)}"
            )
        if not reset:
            check_units(self.X_, X)
        check_range("X", X)
        check_pixels(X, self.input_shape)
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1 or None, got {self.batch_size}.")
        return X

    def _adapt(self, support: Batch) -> Self:
        """Adapts to a support set; without meta-parameters the learner starts from random ones."""
        learner = self._pure()
        meta = self._start(learner, support)
        support = widened(learner, meta, support)
        self.adapted_ = compiled(learner)[0](meta, support)
        self.meta_, self.task_ = meta, jax.eval_shape(lambda: Task(support, support))
        return self

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
        """The learner's outputs for examples, as numpy arrays."""
        check_is_fitted(self, "adapted_")
        x = as_inputs(self._check(X, reset=False))
        size = self.batch_size or len(x)
        parts = [self._part(x[i : i + size]) for i in range(0, len(x), size)]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

    def _part(self, x: np.ndarray) -> Any:
        weight = padded(np.ones(len(x), np.float32))
        outputs = compiled(self._pure())[1](self.meta_, self.adapted_, padded(x), weight=weight)
        return jax.tree.map(lambda array: np.asarray(array)[: len(x)], outputs)


def support_set(x: np.ndarray, y: np.ndarray, ways: np.ndarray | None = None) -> Batch:
    """The examples as they are: a learner that draws mini-batches must not draw padding."""
    return Batch(jnp.asarray(as_inputs(x)), jnp.asarray(y), ways=None if ways is None else jnp.asarray(ways))


@lru_cache(maxsize=16)
def compiled(learner: MetaLearner) -> tuple[Any, Any]:
    """`adapt` and `predict`, compiled once for all estimators of a learner."""
    return jax.jit(learner.adapt), jax.jit(weighted_predict(learner))


@lru_cache(maxsize=16)
def on_support(learner: MetaLearner) -> Any:
    """The outputs for the support set itself; asked for their shape alone, it traces once for every shape of a set."""
    return jax.jit(lambda meta, support: learner.predict(meta, learner.adapt(meta, support), support.x))


def widened(learner: MetaLearner, meta: Variables, support: Batch) -> Batch:
    """The support set with as many ways as the learner's head has outputs, if that is of fixed size.

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
    return support._replace(ways=jnp.pad(support.ways, (0, (fixed or given) - given)))


def fixed_ways(learner: MetaLearner, meta: Variables, support: Batch) -> int | None:
    """The outputs of a head of fixed size, found out without computing anything; None for other learners."""
    try:
        return on_support(learner).eval_shape(meta, support._replace(ways=None)).shape[-1]
    except ValueError:  # without ways, a learner that reads features cannot know how many there are
        return None
