"""Few-shot regression with the methods of scikit-learn."""

# pyright: reportConstantRedefinition=false
import os
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import validate_data

from jaxmeta.algorithms import r2d2
from jaxmeta.learner import predict_rows
from jaxmeta.losses import Gaussian, mse
from jaxmeta.models import identity
from jaxmeta.recipe import Recipe
from jaxmeta.types import Batch, MetaLearner, Variables

from . import _files
from ._arrays import check_finite, check_range, joined
from ._base import FewShot


class FewShotRegressor(RegressorMixin, FewShot):
    r"""A learned learner as a scikit-learn regressor: `fit` adapts to a few points.

    The prediction is the learner's output, $\hat y = f(\mathrm{adapt}(S), x)$, its mean where it is a Gaussian.
    As for `FewShotClassifier`, a prediction does not depend on the other examples of the call.

    Args:
      learner: a `MetaLearner`, or the `Trained` that `jaxmeta.runs.load` returns; by default ridge regression on the
        inputs themselves, without a penalty on the bias. It needs standardised columns: put a StandardScaler before it
        in a pipeline.
      meta: its meta-parameters, ``state.meta`` after `jaxmeta.fit`; by default random initial parameters.
      batch_size: examples predicted at a time, to bound memory; by default all.
      random_state: seed of those random parameters.

    Attributes:
      adapted_: what the learner's ``adapt`` returned, a plain pytree.
      X_, y_: the support set, to which `partial_fit` adds.

    Raises:
      ValueError: for examples of another shape than the learner's; for bytes beside numbers that are not in [0, 1];
        where the learner's outputs are not finite.

    Example:
      >>> import numpy as np
      >>> X = np.linspace(-1, 1, 9)[:, None]
      >>> FewShotRegressor().fit(X, 3 * X[:, 0]).predict([[0.5]]).round(1).tolist()
      [1.5]
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Adapt to a support set.

        Args:
          X: examples ``[N, ...]``.
          y: their targets ``[N]`` or ``[N, outputs]``.
        """
        return self._refit(*self._targets(X, y, reset=True))

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Adapt to the support set and further examples."""
        if not hasattr(self, "adapted_"):
            return self.fit(X, y)
        X, y = self._targets(X, y, reset=False)
        return self._refit(joined(self.X_, X, self.inputs_), np.concatenate([self.y_, y]))

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return predictions ``[N]`` or ``[N, outputs]``, as the targets were.

        Args:
          X: examples ``[N, ...]``.
          return_std: also return the standard deviations, of learners that give them.

        Raises:
          ValueError: if the learner gives no standard deviations.
        """
        outputs = self._outputs(X)
        if return_std and not isinstance(outputs, Gaussian):
            raise ValueError("`return_std`: this learner predicts no deviations; a neural process does.")
        shape = (-1, *self.y_.shape[1:])
        mean, std = (outputs[0], outputs[1]) if isinstance(outputs, Gaussian) else (outputs, None)
        check_finite(mean)
        mean = mean.reshape(shape).astype(np.float64)
        return mean if std is None or not return_std else (mean, std.reshape(shape).astype(np.float64))

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
        """Read an estimator, as `FewShotClassifier.load`."""
        trained, support = _files.load(
            path, classifies=False, learner=learner, num_steps=num_steps, data_dir=data_dir, recipe=recipe
        )
        estimator = cls(trained, batch_size=batch_size)
        return estimator if support is None else estimator.partial_fit(*support)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an estimator, as `FewShotClassifier.save`."""
        _files.save(self, path, {"X": self.X_, "y": self.y_} if hasattr(self, "adapted_") else None)

    def export(self, path: str | os.PathLike[str], *, platforms: tuple[str, ...] = ("cpu", "cuda", "tpu")) -> None:
        """Write the adapted regressor as one file, as `FewShotClassifier.export`; it returns `predict`, in float32."""

        def values(outputs: Any) -> jax.Array:
            mean = outputs[0] if isinstance(outputs, Gaussian) else outputs
            return mean.reshape(mean.shape[0], *self.y_.shape[1:])

        _files.export(self, path, values, platforms)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _default(self) -> MetaLearner:
        return _RIDGE

    def _targets(self, X: Any, y: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(
            self, X, y, reset=reset, allow_nd=True, dtype="numeric", multi_output=True, y_numeric=True, copy=True
        )
        check_range("y", y)
        return self._check(X, reset=reset), np.array(y, np.float32)

    def _refit(self, X: np.ndarray, y: np.ndarray) -> Self:
        self._adapt(X, y.reshape(len(y), -1))
        self.X_, self.y_ = X, y
        return self


def centred(learner: MetaLearner) -> MetaLearner:
    """Return a regressor that works on inputs and targets without their means, so that no bias is penalised.

    Example:
      >>> from jaxmeta import Task
      >>> learner = centred(r2d2(identity(), mse, init_lambda=1e-4))
      >>> support = Batch(jnp.array([[0.0], [1.0]]), jnp.array([[100.0], [101.0]]))
      >>> meta = learner.init(jax.random.key(0), Task(support, support))
      >>> learner.predict(meta, learner.adapt(meta, support), jnp.array([[2.0]])).round(1)
      Array([[102.]], dtype=float32)
    """

    def adapt(meta: Variables, support: Batch, key: Any = None) -> tuple[Any, jax.Array, jax.Array]:
        x, y = (jnp.average(a, axis=0, weights=support.weight, keepdims=True) for a in (support.x, support.y))
        return learner.adapt(meta, support._replace(x=support.x - x, y=support.y - y), key), x, y

    def predict(
        meta: Variables,
        adapted: tuple[Any, jax.Array, jax.Array],
        x: jax.Array,
        key: Any = None,
        *,
        weight: jax.Array | None = None,
    ) -> jax.Array:
        inner, mean_x, mean_y = adapted
        return predict_rows(learner, meta, inner, x - mean_x, key, weight=weight) + mean_y

    return learner._replace(adapt=adapt, predict=predict)


_RIDGE = centred(r2d2(identity(), mse, init_lambda=0.01))  # one learner: nothing compiles twice
