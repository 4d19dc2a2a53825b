"""Tasks of recommendation: a task is a user, and its examples are ratings of items.

Letters: M ratings, U users with enough of them, K shots, Q queries, L the most ratings of a user.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.types import Batch, Key, PyTree, Task

from ._checks import positive, span


class RatingTable(Protocol):
    """Ratings with the features of users and items, as `jaxmeta.datasets.ratings` reads them."""

    @property
    def user(self) -> np.ndarray: ...
    @property
    def item(self) -> np.ndarray: ...
    @property
    def rating(self) -> np.ndarray: ...
    @property
    def time(self) -> np.ndarray: ...
    @property
    def users(self) -> Mapping[str, np.ndarray]: ...
    @property
    def items(self) -> Mapping[str, np.ndarray]: ...


class Rated(NamedTuple):
    """The random choices behind one task.

    Attributes:
      user: the user's row, an int32 scalar.
      support: rows of the ratings that are shown, int32 ``[K]``.
      query: rows of the ratings to predict, int32 ``[Q]``.
      num_shots: how many of ``support`` count.
    """

    user: jax.Array
    support: jax.Array
    query: jax.Array
    num_shots: jax.Array


class Histories(NamedTuple):
    """The ratings of one part, by user and then by time: user ``u`` of U owns ``start[u] : start[u] + length[u]``."""

    item: jax.Array
    rating: jax.Array
    start: jax.Array
    length: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class RatingTasks:
    """The sampler that `ratings` returns: the data are its leaves, the numbers of ratings are static."""

    who: jax.Array  # the rows of the U users
    shown: Histories
    asked: Histories | None  # None: the queries are of `shown` too
    users: PyTree
    items: PyTree
    num_shots: tuple[int, int] = field(metadata={"static": True})
    num_queries: int = field(metadata={"static": True})
    by_time: bool = field(metadata={"static": True})
    longest: tuple[int, int] = field(metadata={"static": True})

    def draw(self, key: Key) -> Rated:
        """Choose a user, and ratings without repetition."""
        k_user, k_shown, k_asked, k_shots = jax.random.split(key, 4)
        low, high = self.num_shots
        u = jax.random.randint(k_user, (), 0, len(self.who))
        shown = self._order(k_shown, self.shown.length[u], self.longest[0])
        left = self.shown.length[u]
        if self.asked is None:
            left, last = left - self.num_queries, self.shown.length[u] - self.num_queries
            query = self.shown.start[u] + jax.lax.dynamic_slice(shown, (last,), (self.num_queries,))
        else:
            order = self._order(k_asked, self.asked.length[u], self.longest[1])
            query = self.asked.start[u] + order[: self.num_queries]
        wanted = jax.random.randint(k_shots, (), low, high + 1) if low < high else jnp.int32(high)
        support = self.shown.start[u] + jnp.pad(shown, (0, max(high - len(shown), 0)))[:high]
        return Rated(self.who[u], support, query, jnp.minimum(wanted, left))

    def fetch(self, indices: Rated) -> Task:
        """Look the ratings up: ``x`` holds every feature of user and item by name."""
        low, high = self.num_shots
        counts = (jnp.arange(high) < indices.num_shots).astype(jnp.float32)
        support = self._batch(self.shown, indices.user, indices.support, counts if low < high else None)
        asked = self.shown if self.asked is None else self.asked
        return Task(support, self._batch(asked, indices.user, indices.query, None))

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
        return self.fetch(self.draw(key))

    def _order(self, key: Key, count: jax.Array, longest: int) -> jax.Array:
        """Return the numbers ``0 .. count - 1`` in the order in which they are shown; others follow."""
        place = jnp.arange(longest)
        if self.by_time:
            return place
        return jnp.argsort(jnp.where(place < count, jax.random.uniform(key, (longest,)), 2.0))

    def _batch(self, histories: Histories, user: jax.Array, rows: jax.Array, weight: jax.Array | None) -> Batch:
        rows = jnp.clip(rows, 0, len(histories.item) - 1)  # hidden ones may lie beyond
        item = histories.item[rows]
        x = {name: jnp.broadcast_to(a[user], (len(rows), *a.shape[1:])) for name, a in self.users.items()}
        x |= {name: a[item] for name, a in self.items.items()}
        return Batch(x, histories.rating[rows][:, None], weight)


def ratings(
    data: RatingTable,
    *,
    query: RatingTable | None = None,
    num_shots: int | tuple[int, int] = 10,
    num_queries: int = 10,
    order: Literal["random", "time"] = "random",
) -> RatingTasks:
    """Return a sampler whose tasks are users: predict some of a user's ratings from others.

    Inputs are a dict of the features of the user and of the items, each int32 ``[N]`` or float32 ``[N, F]``; targets
    are ratings ``[N, 1]``. Users are equally probable; those with too few ratings are left out.

    Args:
      data: the ratings that are shown, such as a part of `jaxmeta.datasets.cold_start`.
      query: the ratings to predict, of the same users; by default others of ``data``.
      num_shots: ratings that are shown, or a range (fewest, most): each task then has a random number of them, as far
        as its user has as many, and the others have weight 0.
      num_queries: ratings to predict.
      order: ``"random"``, or ``"time"``: the first ones are shown, and the last ones of ``data`` (or the first ones of
        ``query``) are predicted.

    Raises:
      TypeError, ValueError: if a number is not positive, no user has enough ratings, or a feature of users has the name
        of one of items.

    Example:
      >>> from jaxmeta import datasets
      >>> data, _ = datasets.invented_ratings(num_users=20, num_items=30, num_ratings=12, key=jax.random.key(0))
      >>> task = ratings(data, num_shots=5, num_queries=4)(jax.random.key(1))
      >>> task.support.y.shape, task.query.x["genre"].shape, sorted(task.query.x)[:3]
      ((5, 1), (4, 18), ['age', 'gender', 'genre'])
    """
    low, high = span("num_shots", num_shots)
    num_queries = positive("num_queries", num_queries)
    if order not in ("random", "time"):
        raise ValueError(f"`order` must be 'random' or 'time', got {order!r}.")
    both = sorted({*data.users} & {*data.items})
    if both:
        raise ValueError(f"`data` has features {both} of users and of items. Rename one of each pair.")
    num_users = max(int(part.user.max(initial=-1)) for part in (data, query or data)) + 1
    shown = np.bincount(data.user, minlength=num_users)
    asked = shown - low if query is None else np.bincount(query.user, minlength=num_users)
    who = np.flatnonzero((shown >= low) & (asked >= num_queries))
    if not len(who):
        raise ValueError(
            f"`num_shots` is {num_shots} and `num_queries` {num_queries}, but no user has as many ratings: the most "
            f"are {shown.max(initial=0)}"
            + (f" shown and {asked.max(initial=0)} to predict." if query is not None else ".")
        )
    first = _histories(data, who)
    second = None if query is None else _histories(query, who)
    longest = int(first.length.max()), 0 if second is None else int(second.length.max())
    as_arrays: Any = lambda table: {name: jnp.asarray(a) for name, a in table.items()}
    return RatingTasks(
        who=jnp.asarray(who, jnp.int32),
        shown=first,
        asked=second,
        users=as_arrays(data.users),
        items=as_arrays(data.items),
        num_shots=(low, high),
        num_queries=num_queries,
        by_time=order == "time",
        longest=longest,
    )


def _histories(data: RatingTable, who: np.ndarray) -> Histories:
    order = np.lexsort((data.time, data.user))
    user = data.user[order]
    start, end = (np.searchsorted(user, who, side=side) for side in ("left", "right"))
    return Histories(
        item=jnp.asarray(data.item[order], jnp.int32),
        rating=jnp.asarray(data.rating[order], jnp.float32),
        start=jnp.asarray(start, jnp.int32),
        length=jnp.asarray(end - start, jnp.int32),
    )
