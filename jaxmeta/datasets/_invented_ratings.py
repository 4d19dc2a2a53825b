"""An invented world of users and items whose best predictions are known in closed form.

Letters: U users, I items, N ratings, R dimensions of taste.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.types import Key

from ._ratings import Ratings


class World(NamedTuple):
    """The numbers behind `invented_ratings`.

    Attributes:
      mean: of all ratings.
      quality: float32 ``[I]``, what every user thinks of an item.
      traits: float32 ``[I, R]``, which follow from the item's features.
      expected: float32 ``[U, R]``, the taste that a user's features let expect.
      taste: float32 ``[U, R]``, the user's own: normal around `expected`, with standard deviation `spread`.
      spread: of tastes.
      noise: the standard deviation of a rating around its expectation.
    """

    mean: float
    quality: np.ndarray
    traits: np.ndarray
    expected: np.ndarray
    taste: np.ndarray
    spread: float
    noise: float

    def predict(
        self, user: int, items: np.ndarray, ratings: np.ndarray, asked: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Return the best prediction of a user's ratings, given some of them: posterior mean and standard deviation.

        With residuals $e$ of the given ratings and traits $Q$ of their items, the taste's deviation from its
        expectation is $\mathcal N(\Sigma Q^\top e / \sigma^2, \Sigma)$ with
        $\Sigma = (I / s^2 + Q^\top Q / \sigma^2)^{-1}$: no predictor has a smaller mean squared error.

        Args:
          user: a row.
          items, ratings: those given, ``[N]``.
          asked: items to predict, ``[A]``.

        Returns:
          Means and standard deviations of new ratings, float64 ``[A]``.
        """
        traits = self.traits.astype(np.float64)
        known = self.mean + self.quality + traits @ self.expected[user].astype(np.float64)
        q = traits[items]
        cov = np.linalg.inv(np.eye(traits.shape[1]) / self.spread**2 + q.T @ q / self.noise**2)
        shift = cov @ q.T @ (ratings - known[items]) / self.noise**2
        q = traits[asked]
        return known[asked] + q @ shift, np.sqrt(self.noise**2 + np.einsum("ar,rs,as->a", q, cov, q))


def invented_ratings(
    *,
    key: Key,
    num_users: int = 600,
    num_items: int = 300,
    num_ratings: int = 150,
    num_tastes: int = 4,
    noise: float = 0.5,
) -> tuple[Ratings, World]:
    r"""Make up ratings in the form of MovieLens, and the world behind them.

    $y = \mu + b_i + p_u^\top q_i + \epsilon$: an item's traits $q_i$ and quality $b_i$ are functions of its genres (up
    to three of 18) and year; a user's taste $p_u$ is partly a function of ``age``, ``gender`` and ``occupation``, and
    partly the user's own. Ratings have mean 3.5 and standard deviation near 1, and are not rounded. Each user rates
    ``num_ratings`` items, chosen at random.

    Args:
      key: decides everything.
      num_users, num_items: U and I.
      num_ratings: ratings of each user.
      num_tastes: R.
      noise: the standard deviation of $\epsilon$.

    Raises:
      ValueError: if a number is below 1, or ``num_ratings`` is above ``num_items``.

    Example:
      >>> data, world = invented_ratings(num_users=20, num_items=30, num_ratings=10, key=jax.random.key(0))
      >>> data.rating.shape, sorted(data.sizes)
      ((200,), ['age', 'gender', 'genre', 'item', 'occupation', 'user', 'year'])
    """
    if min(num_users, num_items, num_ratings, num_tastes) < 1 or num_ratings > num_items or not noise > 0:
        raise ValueError(
            "`num_users`, `num_items`, `num_ratings` and `num_tastes` must be at least 1, `num_ratings` at most "
            f"`num_items`, and `noise` above 0; got {num_users}, {num_items}, {num_ratings}, {num_tastes}, {noise}."
        )
    draw = iter(jax.random.split(key, 16))
    genre = np.zeros((num_items, 18), np.float32)
    for column in np.asarray(jax.random.randint(next(draw), (3, num_items), 0, 18)):
        genre[np.arange(num_items), column] = 1
    years, ages, genders, occupations = (
        np.asarray(jax.random.randint(next(draw), (n,), 0, size), np.int32)
        for n, size in ((num_items, 30), (num_users, 7), (num_users, 2), (num_users, 21))
    )
    normal = lambda *shape: np.asarray(jax.random.normal(next(draw), shape))
    share = genre / genre.sum(1, keepdims=True)
    of_genre, of_year = normal(18, num_tastes), normal(30, num_tastes)
    traits = _scaled(share @ of_genre * 1.4 + 0.5 * of_year[years], num_tastes)
    quality = 0.4 * _scaled((share @ normal(18, 1) + 0.5 * normal(30, 1)[years]), 1)[:, 0]
    expected = normal(7, num_tastes)[ages] + normal(2, num_tastes)[genders] + normal(21, num_tastes)[occupations]
    spread = 0.6
    expected = 0.5 * expected / 3**0.5
    taste = expected + spread * normal(num_users, num_tastes)
    k_items, k_noise = next(draw), next(draw)
    pick = jax.vmap(lambda k: jax.random.permutation(k, num_items)[:num_ratings])
    item = np.asarray(pick(jax.random.split(k_items, num_users)), np.int32).reshape(-1)
    user = np.repeat(np.arange(num_users, dtype=np.int32), num_ratings)
    ratings = 3.5 + quality[item] + (taste[user] * traits[item]).sum(1)
    ratings = ratings + noise * np.asarray(jax.random.normal(k_noise, (len(user),), jnp.float32))
    data = Ratings(
        user=user,
        item=item,
        rating=ratings.astype(np.float32),
        time=np.tile(np.arange(num_ratings, dtype=np.int64), num_users),
        users={"user": np.arange(num_users, dtype=np.int32), "age": ages, "gender": genders, "occupation": occupations},
        items={"item": np.arange(num_items, dtype=np.int32), "genre": genre, "year": years},
        user_names=tuple(f"user {i}" for i in range(num_users)),
        item_names=tuple(f"item {i}" for i in range(num_items)),
    )
    return data, World(3.5, quality, traits, expected, taste, spread, noise)


def _scaled(a: np.ndarray, size: int) -> np.ndarray:
    """Centre columns, and scale rows to a mean squared length of 1."""
    a = a - a.mean(0)
    return (a / np.sqrt((a**2).sum(1).mean())).astype(np.float32) * min(1.0, size)
