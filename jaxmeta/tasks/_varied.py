r"""Classification tasks of varying ways and unequal shots, by the algorithm of Meta-Dataset.

Triantafillou et al., 2020, https://arxiv.org/abs/1903.03096, section 3.2 and appendix A.

Letters: W the most ways, S the most support examples, Q the most queries per class, C classes, L the largest class.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.rows import scale_bytes
from jaxmeta.types import Batch, ClassSet, Key, PyTree, Task

from ._checks import positive
from ._episodes import check_data, on_device
from ._subsets import choose


class Unequal(NamedTuple):
    """The random choices behind one task.

    Attributes:
      classes: int32 ``[W]``; the first ``num_ways`` count.
      num_ways: int32 scalar.
      shots: int32 ``[W]``, support examples of each class; 0 for absent ones.
      queries: int32 scalar, queries of each class.
      rows: int32 ``[W, L]``, the examples of each class in random order, as rows of the data: queries, then shots.
    """

    classes: jax.Array
    num_ways: jax.Array
    shots: jax.Array
    queries: jax.Array
    rows: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class VariedEpisodes:
    """The sampler that `varied_episodes` returns; its leaves are the arrays of the data set."""

    x: PyTree = field(repr=False)
    start: jax.Array = field(repr=False)
    count: jax.Array = field(repr=False)
    num_ways: tuple[int, int] = field(metadata={"static": True})
    max_support: int = field(metadata={"static": True})
    max_shots: int = field(metadata={"static": True})
    max_queries: int = field(metadata={"static": True})
    longest: int = field(metadata={"static": True})

    def draw(self, key: Key) -> Unequal:
        """Draw the classes, the numbers of examples and the rows of one task."""
        k_ways, k_classes, k_beta, k_alpha, k_rows = jax.random.split(key, 5)
        low, high = self.num_ways
        num_ways = jax.random.randint(k_ways, (), low, high + 1)
        classes = choose(k_classes, self.count.shape[0], high)
        here, size = jnp.arange(high) < num_ways, self.count[classes]
        queries = jnp.minimum(self.max_queries, jnp.where(here, size // 2, self.max_queries).min())
        beta = 1 - jax.random.uniform(k_beta)  # above 0, at most 1
        alpha = jax.random.uniform(k_alpha, (high,), minval=np.log(0.5), maxval=np.log(2.0))
        shots = unequal_shots(size, here, queries, beta, alpha, self.max_support, self.max_shots)
        order = jax.vmap(self._order)(jax.random.split(k_rows, high), size)
        return Unequal(classes, num_ways, shots, queries, self.start[classes][:, None] + order)

    def fetch(self, indices: Unequal) -> Task:
        """Gather and scale the examples of one task; places beyond its numbers have weight 0."""
        _, num_ways, shots, queries, rows = indices
        high = self.num_ways[1]
        ends, slot = jnp.cumsum(shots), jnp.arange(self.max_support)
        way = jnp.minimum(jnp.searchsorted(ends, slot, side="right"), num_ways - 1)
        place = slot - (ends - shots)[way]
        shown = slot < ends[-1]
        support = rows[way, jnp.where(shown, queries + place, 0)]
        ways = jnp.arange(high) < num_ways
        label = jnp.repeat(jnp.arange(high), self.max_queries)
        number = jnp.tile(jnp.arange(self.max_queries), high)
        asked = ways[label] & (number < queries)
        label = jnp.where(asked, label, 0)
        query = rows[label, jnp.where(asked, number, 0)]

        def batch(rows: jax.Array, y: jax.Array, counts: jax.Array) -> Batch:
            x = jax.tree.map(lambda a: scale_bytes(a[rows]), self.x)
            return Batch(x, y.astype(jnp.int32), counts.astype(jnp.float32), ways)

        return Task(batch(support, jnp.where(shown, way, 0), shown), batch(query, label, asked))

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
        return self.fetch(self.draw(key))

    def _order(self, key: Key, size: jax.Array) -> jax.Array:
        place = jnp.arange(self.longest)
        return jnp.argsort(jnp.where(place < size, jax.random.uniform(key, (self.longest,)), 2.0)) % size


def unequal_shots(
    size: jax.Array,
    here: jax.Array,
    queries: jax.Array,
    beta: jax.Array,
    alpha: jax.Array,
    max_support: int,
    max_shots: int,
) -> jax.Array:
    r"""Return the support examples of each class, int32 ``[W]``, from the random numbers $\beta$ and $\alpha_c$.

    The support set has $|S| = \min(S, \sum_c \lceil \beta \min(K, |c| - q) \rceil)$ examples at most. Class $c$ gets
    $\min(\lfloor R_c (|S| - W) \rfloor + 1, |c| - q)$ of them, in proportion $R_c \propto e^{\alpha_c} |c|$.

    Args:
      size: examples of each class, ``[W]``.
      here: which classes are present.
      queries: $q$.
      beta, alpha: random numbers, a scalar in (0, 1] and ``[W]``.
      max_support, max_shots: $S$ and $K$.
    """
    left = size - queries
    wanted = jnp.where(here, jnp.ceil(beta * jnp.minimum(max_shots, left)), 0).sum()
    total = jnp.minimum(max_support, wanted)
    share = jnp.where(here, jnp.exp(alpha) * size, 0)
    shots = jnp.floor(share / share.sum() * (total - here.sum())).astype(jnp.int32) + 1
    return jnp.where(here, jnp.minimum(shots, left), 0)


def varied_episodes(
    data: ClassSet,
    *,
    num_ways: tuple[int, int] = (5, 50),
    max_support: int = 500,
    max_shots: int = 100,
    max_queries: int = 10,
) -> VariedEpisodes:
    """Return a sampler of tasks with varying ways and unequal shots, as those of Meta-Dataset.

    The number of ways is uniform, the classes are uniform without repetition. All classes of a task have as many
    queries: ``max_queries``, or half of its smallest class. The size of the support set and the shares of the classes
    are random: see `jaxmeta.tasks.unequal_shots`. Shapes are those of the largest task, and places beyond a task's
    numbers have weight 0. Left out: the hierarchies of classes of ImageNet and Omniglot.

    Args:
      data: classes to draw from; its arrays move to the device once, in this call.
      num_ways: the fewest and the most classes of a task; with fewer classes in ``data``, the most are all of them.
      max_support: the most support examples of a task.
      max_shots: the most of one class that count for the size of the support set.
      max_queries: the most queries of each class.

    Raises:
      TypeError: if ``data`` is no `ClassSet`, or a number is no whole number.
      ValueError: if a number is below 1, ``num_ways`` does not rise, the classes are too few, one has a single example,
        or ``max_support`` is below the ways.

    Example:
      >>> data = ClassSet(np.zeros([60, 4]), start=np.arange(0, 60, 10), count=np.full(6, 10), names=tuple("abcdef"))
      >>> task = varied_episodes(data, num_ways=(2, 5), max_support=20, max_queries=3)(jax.random.key(0))
      >>> task.support.x.shape, task.query.y.shape, task.query.ways.shape
      ((20, 4), (15,), (5,))
    """
    check_data(data)
    low, high = (positive("num_ways", n) for n in num_ways)
    numbers = {"max_support": max_support, "max_shots": max_shots, "max_queries": max_queries}
    support, shots, queries = (positive(name, number) for name, number in numbers.items())
    high = min(high, len(data.count))
    if low > high:
        raise ValueError(f"`num_ways` is {num_ways!r}, but there are {len(data.count)} classes.")
    if min(data.count) < 2:
        raise ValueError("`data` has a class of one example, but a task needs two: `data.drop_small(2)` leaves it out.")
    if support < high:
        raise ValueError(f"`max_support` is {support}, but {high} classes need an example each.")
    x, start, count = on_device(data)
    return VariedEpisodes(x, start, count, (low, high), support, shots, queries, int(max(data.count)))
