"""Meta-Dataset's sampling: the numbers of examples by an independent loop, and what every task keeps."""

import math

import jax
import numpy as np
import pytest

from jaxmeta import tasks
from jaxmeta.types import ClassSet

SIZES = np.array([2, 30, 7, 150, 11, 60])
START = np.concatenate([[0], np.cumsum(SIZES)[:-1]])
DATA = ClassSet(np.arange(SIZES.sum(), dtype=np.float32)[:, None], START, SIZES, tuple("abcdef"))


def by_loop(sizes, queries, beta, alpha, max_support, max_shots):
    total = min(max_support, sum(math.ceil(beta * min(max_shots, size - queries)) for size in sizes))
    weights = [math.exp(a) * size for a, size in zip(alpha, sizes, strict=True)]
    shots = [math.floor(w / sum(weights) * (total - len(sizes))) + 1 for w in weights]
    return [min(k, size - queries) for k, size in zip(shots, sizes, strict=True)]


@pytest.mark.usefixtures("x64")
def test_the_numbers_of_shots():
    rng, run = np.random.default_rng(0), jax.jit(tasks.unequal_shots, static_argnums=(5, 6))
    for _ in range(50):
        num_ways, queries = int(rng.integers(2, 7)), 1
        sizes, alpha, beta = rng.permutation(SIZES), rng.uniform(-0.69, 0.69, 6), rng.uniform(0.01, 1)
        found = run(sizes, np.arange(6) < num_ways, queries, beta, alpha, 40, 20)
        expected = by_loop(sizes[:num_ways].tolist(), queries, beta, alpha[:num_ways], 40, 20)
        assert found.tolist() == expected + [0] * (6 - num_ways)


def test_what_every_task_keeps():
    sampler = tasks.varied_episodes(DATA, num_ways=(2, 5), max_support=40, max_shots=20, max_queries=4)
    found = jax.jit(jax.vmap(sampler))(jax.random.split(jax.random.key(0), 300))
    ways, totals = set(), set()
    for t in range(300):
        support, query = jax.tree.map(lambda a, t=t: np.asarray(a[t]), (found.support, found.query))
        shown, asked = support.weight > 0, query.weight > 0
        num_ways = int(support.ways.sum())
        rows, labels = support.x[shown, 0].astype(int), support.y[shown]
        asked_rows, asked_labels = query.x[asked, 0].astype(int), query.y[asked]
        assert len({*rows, *asked_rows}) == len(rows) + len(asked_rows)  # no example twice, none in both sets
        own = lambda rows: np.searchsorted(START, rows, side="right") - 1
        classes = dict(zip(labels.tolist(), own(rows).tolist(), strict=True))
        assert len(classes) == len({*classes.values()}) == num_ways
        assert [classes[w] for w in labels.tolist()] == own(rows).tolist()
        assert [classes[w] for w in asked_labels.tolist()] == own(asked_rows).tolist()
        queries = min(4, *(SIZES[c] // 2 for c in classes.values()))
        assert np.bincount(asked_labels, minlength=5).tolist() == [queries] * num_ways + [0] * (5 - num_ways)
        assert num_ways <= len(rows) <= 40
        ways.add(num_ways)
        totals.add(len(rows))
    assert ways == {2, 3, 4, 5} and len(totals) > 15


@pytest.mark.parametrize(
    "options, text",
    [
        ({"num_ways": (7, 9)}, "`num_ways` is .7, 9., but there are 6 classes"),
        ({"num_ways": (2, 5), "max_support": 4}, "`max_support` is 4, but 5 classes"),
        ({"num_ways": (2, 5), "max_queries": 0}, "`max_queries` must be a positive"),
    ],
)
def test_errors(options, text):
    with pytest.raises(ValueError, match=text):
        tasks.varied_episodes(DATA, **options)
    with pytest.raises(ValueError, match="a class of one example"):
        tasks.varied_episodes(DATA._replace(count=np.minimum(SIZES, 1)))
