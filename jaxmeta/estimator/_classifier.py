"""Few-shot classification with the methods of scikit-learn."""

# pyright: reportConstantRedefinition=false
import os
from typing import Any, Self

import jax
import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from jaxmeta.algorithms import protonet
from jaxmeta.models import identity
from jaxmeta.recipe import Recipe
from jaxmeta.types import MetaLearner

from . import _files
from ._arrays import check_finite, joined
from ._base import FewShot


class FewShotClassifier(ClassifierMixin, FewShot):
    r"""A learned learner as a scikit-learn classifier: `fit` adapts to a few labelled examples.

    The probabilities are the softmax of the learner's outputs, $p = \mathrm{softmax}(f(\mathrm{adapt}(S), x))$.
    Labels may be strings or numbers, as many as the learner has ways for (a learner without a head of fixed size: any
    number), with as many examples as there are. `fit` does not train: ``meta`` stays as it is.

    Examples get the dtype of training. Bytes (uint8) that are images are scaled to [0, 1]. With a learner of your own,
    integers stay integers, for token ids.

    A prediction does not depend on the other examples of the call: BatchNorm that was trained with the statistics of
    its batch uses those of the support set, as `jaxmeta.inductive` does. Learners that are transductive by their
    algorithm (`soft_kmeans`) remain so.

    Args:
      learner: a `MetaLearner`, or the `Trained` that `jaxmeta.runs.load` returns; by default prototypes of the inputs
        themselves, the nearest class mean.
      meta: its meta-parameters, ``state.meta`` after `jaxmeta.fit`; by default random initial parameters.
      batch_size: examples predicted at a time, to bound memory; by default all.
      random_state: seed of those random parameters.

    Attributes:
      classes_: the labels, sorted; the columns of `predict_proba`.
      adapted_: what the learner's ``adapt`` returned, a plain pytree.
      X_, y_: the support set, to which `partial_fit` adds.

    Raises:
      ValueError: for examples of another shape than the learner's, or more classes than it has ways; for bytes beside
        numbers that are not in [0, 1]; where the learner's outputs are not finite.

    Example:
      >>> import numpy as np
      >>> X, y = np.array([[0.0], [1.0], [5.0], [6.0]]), ["near", "near", "far", "far"]
      >>> classifier = FewShotClassifier().fit(X, y)
      >>> classifier.predict([[2.0], [9.0]]).tolist()
      ['near', 'far']
      >>> classifier.partial_fit([[99.0]], ["farther"]).predict([[60.0]]).tolist()
      ['farther']
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Adapt to a support set.

        Args:
          X: examples ``[N, ...]``; images as bytes, or as floats as the learner was trained on them (in [0, 1]).
          y: their labels ``[N]``.
        """
        X, y = self._labelled(X, y, reset=True)
        return self._refit(X, y, np.unique(y))

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Adapt to the support set and further examples.

        Args:
          X: further examples ``[N, ...]``.
          y: their labels; new ones become further classes.
          classes: labels that will come, so that `classes_` need not grow; they have probability 0 until then.
        """
        first = not hasattr(self, "adapted_")
        X, y = self._labelled(X, y, reset=first)
        known = [y, *([] if classes is None else [np.unique(classes)]), *([] if first else [self.classes_])]
        _check_kinds(known)
        if not first:
            X, y = joined(self.X_, X, self.inputs_), np.concatenate([self.classes_[self.y_], y])
        return self._refit(X, y, np.unique(np.concatenate(known)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities ``[N, W]``, a column for each of `classes_`."""
        p = np.asarray(jax.nn.softmax(self._scores(X), -1), np.float64)
        return p / p.sum(1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each example."""
        best = np.argmax(self._scores(X), 1)
        return self.classes_[best]

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        learner: MetaLearner | None = None,
        num_steps: int | None = None,
        data_dir: str | None = None,
        recipe: Recipe | None = None,
        batch_size: int | None = None,
    ) -> Self:
        """Read a run folder of `jaxmeta train`, or a folder that `save` wrote; adapt to a support set that is there.

        Args:
          path: the folder.
          learner: for a learner of your own, which no recipe can build; it must have the saved leaves.
          num_steps, data_dir, recipe: as for `jaxmeta.runs.load`.
          batch_size: as for the class.

        Raises:
          ValueError: if there is no such folder, or it is of another learner: then the leaves that differ are named.
        """
        trained, support = _files.load(
            path, classifies=True, learner=learner, num_steps=num_steps, data_dir=data_dir, recipe=recipe
        )
        estimator = cls(trained, batch_size=batch_size)
        return estimator if support is None else estimator.partial_fit(*support)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the learner's configuration and parameters, and the support set, to a new folder.

        Raises:
          ValueError: if the folder exists, or there is nothing to save.
        """
        fitted = hasattr(self, "adapted_")
        _files.save(self, path, {"X": self.X_, "y": self.y_, "classes": self.classes_} if fitted else None)

    def export(self, path: str | os.PathLike[str], *, platforms: tuple[str, ...] = ("cpu", "cuda", "tpu")) -> None:
        """Write the adapted classifier as one file that needs only jax (and flatbuffers, with which jax reads it).

        ``jax.export.deserialize(bytearray(open(path, "rb").read())).call(X)`` returns `predict_proba`, in float32, for
        any number of examples of the shape and dtype of the support set; floats are float32.

        Args:
          path: the file to write.
          platforms: where it shall run.
        """

        def probabilities(outputs: jax.Array) -> jax.Array:
            return jax.nn.softmax(outputs, -1)[:, : len(self.classes_)]

        _files.export(self, path, probabilities, platforms)

    def _default(self) -> MetaLearner:
        return _PROTOTYPES

    def _scores(self, X: Any) -> np.ndarray:
        outputs = self._outputs(X)[:, : len(self.classes_)]
        check_finite(outputs.max(1))
        return outputs

    def _labelled(self, X: Any, y: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, reset=reset, allow_nd=True, dtype="numeric", copy=True)
        check_classification_targets(y)
        return self._check(X, reset=reset), y

    def _refit(self, X: np.ndarray, y: np.ndarray, classes: np.ndarray) -> Self:
        at = np.searchsorted(classes, y).astype(np.int32)
        self._adapt(X, at, np.isin(np.arange(len(classes)), at))
        self.classes_, self.X_, self.y_ = classes, X, at  # after it, so that a failure leaves all as it was
        return self


def _check_kinds(labels: list[np.ndarray]) -> None:
    """Refuse strings beside numbers: joined, numbers would become strings."""
    if len({array.dtype.kind in "OUST" for array in labels}) > 1:
        given = " and ".join(repr(array[0].item() if hasattr(array[0], "item") else array[0]) for array in labels)
        raise ValueError(
            f"Labels must be all strings or all numbers, but among `y`, `classes` and those known are {given}."
        )


_PROTOTYPES = protonet(identity())  # one learner: nothing compiles twice
