"""Recommendations for one user from a few ratings of theirs, by any learner of ratings."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from jaxmeta.datasets import Ratings
from jaxmeta.learner import predict_rows
from jaxmeta.losses import Gaussian
from jaxmeta.runs import Trained
from jaxmeta.types import Batch, MetaLearner, Variables

from ._arrays import padded

Item = str | int


class Recommended(NamedTuple):
    """An item and the rating that is predicted for it."""

    item: str
    rating: float


class Recommender:
    """A learner of ratings that adapts to one user, then rates and ranks items.

    Args:
      learner: a learner that was trained on `tasks.ratings`, or the `Trained` that `jaxmeta.runs.load` returns.
      meta: its meta-parameters, ``state.meta`` after `jaxmeta.fit`; of a `Trained` its own.
      data: the items and their features, and what users may be, as `datasets.ratings` reads them.

    Attributes:
      rated_: rows of the items that the user has rated.

    Example:
      >>> import jaxmeta as jm
      >>> data, _ = jm.datasets.invented_ratings(num_users=9, num_items=20, num_ratings=12, key=jax.random.key(0))
      >>> learner, tasks = jm.factorisation(20, rank=0, centre=3.0), jm.tasks.ratings(data, num_shots=3, num_queries=2)
      >>> meta = learner.init(jax.random.key(1), tasks(jax.random.key(2)))
      >>> ann = jm.Recommender(learner, meta, data=data).fit(["item 3", "item 7"], [5, 4], user={"age": 2})
      >>> ann.rank(["item 7", "item 9"])
      [Recommended(item='item 9', rating=4.0)]
    """

    rated_: np.ndarray

    def __init__(self, learner: MetaLearner | Trained, meta: Variables | None = None, *, data: Ratings) -> None:
        if isinstance(learner, Trained):
            learner, meta = learner.learner, learner.meta
        if meta is None:
            raise ValueError("`meta` is None: give what was learned, `state.meta`.")
        self.learner, self.meta, self.data = learner, meta, data
        self._row = {name: row for row, name in enumerate(data.item_names)}

    def fit(self, items: Sequence[Item], ratings: Sequence[float], user: str | Mapping[str, Any] = {}) -> Self:
        """Adapt to a user's ratings.

        Args:
          items: N items, by name or by row.
          ratings: N ratings.
          user: the name of a user of the data, or features by name; a feature that is left out has its most frequent
            value.

        Raises:
          ValueError: for an unknown item, user or feature, for ratings that are not finite, or as many as items.
        """
        rows, given = self._rows(items), np.asarray(ratings, np.float32).reshape(-1, 1)
        if len(rows) != len(given) or not len(rows) or not np.isfinite(given).all():
            raise ValueError(f"`ratings` must be one finite number for each of {len(rows)} items, got {ratings!r}.")
        self._user = self._features(user)
        weight: Any = padded(np.ones(len(rows), np.float32))
        support = Batch(self._inputs(padded(rows)), padded(given), weight)
        self._adapted = _programs(self.learner)[0](self.meta, support)
        self.rated_ = rows
        return self

    def predict(self, items: Sequence[Item] | None = None) -> np.ndarray:
        """Return the predicted ratings of items, float64 ``[N]``; by default of all.

        Raises:
          ValueError: for an unknown item, or before `fit`.
        """
        if not hasattr(self, "rated_"):
            raise ValueError("Call `fit` with some ratings of the user first.")
        rows = np.arange(len(self.data.item_names)) if items is None else self._rows(items)
        outputs = _programs(self.learner)[1](self.meta, self._adapted, self._inputs(padded(rows)))
        outputs = outputs.mean if isinstance(outputs, Gaussian) else outputs
        return np.asarray(outputs, np.float64).reshape(-1)[: len(rows)]

    def rank(self, candidates: Sequence[Item] | None = None, *, top: int = 10) -> list[Recommended]:
        """Return the best items for the user, the best first, without those that the user has rated.

        Args:
          candidates: items to choose from, by name or row; by default all.
          top: how many to return.
        """
        rows = np.arange(len(self.data.item_names)) if candidates is None else self._rows(candidates)
        if hasattr(self, "rated_"):
            rows = rows[~np.isin(rows, self.rated_)]
        ratings = self.predict(rows.tolist())
        order = np.argsort(-ratings, kind="stable")[:top]
        return [Recommended(self.data.item_names[rows[i]], float(ratings[i])) for i in order]

    def _rows(self, items: Sequence[Item]) -> np.ndarray:
        count = len(self._row)
        rows = [self._row.get(item, -1) if isinstance(item, str) else int(item) for item in items]
        wrong = [item for item, row in zip(items, rows, strict=True) if not 0 <= row < count]
        if wrong:
            raise ValueError(f"`items` has {wrong[0]!r}, which is no item of the data and no row below {count}.")
        return np.asarray(rows, np.int64)

    def _features(self, user: str | Mapping[str, Any]) -> dict[str, np.ndarray]:
        tables = self.data.users
        if isinstance(user, str):
            if user not in self.data.user_names:
                raise ValueError(f"`user` is {user!r}, who is not among the {len(self.data.user_names)} of the data.")
            return {name: table[self.data.user_names.index(user)] for name, table in tables.items()}
        unknown = [name for name in user if name not in tables]
        if unknown:
            raise ValueError(f"`user` has the feature {unknown[0]!r}, but users have {sorted(tables)}.")
        usual = {
            name: t.mean(0) if t.ndim == 2 else t.dtype.type(np.bincount(t).argmax()) for name, t in tables.items()
        }
        return usual | {name: np.asarray(value, tables[name].dtype) for name, value in user.items()}

    def _inputs(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        of_user = {name: np.broadcast_to(v, (len(rows), *np.shape(v))) for name, v in self._user.items()}
        return of_user | {name: table[rows] for name, table in self.data.items.items()}


@lru_cache(maxsize=16)
def _programs(learner: MetaLearner) -> tuple[Any, Any]:
    """Return `adapt` and `predict`, compiled once for all users."""
    return jax.jit(learner.adapt), jax.jit(partial(predict_rows, learner))
