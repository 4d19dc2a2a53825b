"""Choosing without replacement: exact, in order and as a set."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest

from jaxmeta.tasks._subsets import choose


@pytest.mark.parametrize("n, k", [(4, 2), (4, 4), (5, 3), (3, 1)])
def test_every_ordered_choice_is_equally_likely(n, k):
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key, n: choose(key, n, k), (0, None)))(keys, n))
    counts = {choice: 0 for choice in itertools.permutations(range(n), k)}
    for row, count in zip(*np.unique(drawn, axis=0, return_counts=True), strict=True):
        counts[tuple(row.tolist())] += count  # KeyError: not distinct, or out of range
    observed = np.array(list(counts.values()))
    statistic = ((observed - observed.mean()) ** 2 / observed.mean()).sum()
    assert abs(statistic - (len(counts) - 1)) < 4 * np.sqrt(2 * (len(counts) - 1))


def test_size_may_vary_along_a_mapped_axis():
    sizes = np.array([5, 6, 1000, 2**31 - 1], np.int32)
    drawn = jax.vmap(partial(choose, k=5))(jax.random.split(jax.random.key(0), 4), sizes)
    assert sorted(drawn[0].tolist()) == list(range(5))
    assert (drawn >= 0).all() and (drawn < sizes[:, None]).all()
    assert all(len(set(row)) == 5 for row in drawn.tolist())
