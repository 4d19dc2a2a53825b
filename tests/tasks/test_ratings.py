"""Tasks of recommendation: shots and queries are different ratings of one user, as the table has them."""

import jax
import numpy as np
import pytest

from jaxmeta import datasets, tasks

DATA, _ = datasets.invented_ratings(num_users=12, num_items=30, num_ratings=9, key=jax.random.key(0))
TABLE = {(u, i): r for u, i, r in zip(DATA.user.tolist(), DATA.item.tolist(), DATA.rating.tolist(), strict=True)}


def drawn(sampler, num_tasks=64):
    return jax.jit(jax.vmap(sampler))(jax.random.split(jax.random.key(1), num_tasks))


def pairs(batch, t):
    """The (user, item) of the examples that count, and their ratings."""
    counts = np.ones(batch.y.shape[1]) if batch.weight is None else batch.weight[t]
    rows = zip(batch.x["user"][t].tolist(), batch.x["item"][t].tolist(), batch.y[t, :, 0].tolist(), counts, strict=True)
    return {(u, i): y for u, i, y, weight in rows if weight}


@pytest.mark.parametrize("num_shots, query", [(4, False), ((1, 7), False), (4, True)])
def test_shots_and_queries_are_different_ratings_of_one_user(num_shots, query):
    first, last = DATA.rows(DATA.time < 5), DATA.rows(DATA.time >= 5)
    sampler = tasks.ratings(first if query else DATA, query=last if query else None, num_shots=num_shots, num_queries=3)
    found, users, counts = drawn(sampler), set(), set()
    for t in range(64):
        support, asked = pairs(found.support, t), pairs(found.query, t)
        assert len(asked) == 3 and not {*support} & {*asked} and len({u for u, _ in {*support, *asked}}) == 1
        for key, rating in (support | asked).items():
            assert rating == pytest.approx(TABLE[key])
        users |= {u for u, _ in asked}
        counts |= {len(support)}
    assert len(users) == 12 and counts == ({4} if num_shots == 4 else set(range(1, 7)))
    np.testing.assert_array_equal(found.query.x["genre"], DATA.items["genre"][found.query.x["item"]])
    np.testing.assert_array_equal(found.support.x["age"], DATA.users["age"][found.support.x["user"]])


def test_in_the_order_of_time():
    task = tasks.ratings(DATA, num_shots=4, num_queries=3, order="time")(jax.random.key(0))
    rows = np.flatnonzero(DATA.user == int(task.query.x["user"][0]))
    assert task.support.x["item"].tolist() == DATA.item[rows[:4]].tolist()
    assert task.query.x["item"].tolist() == DATA.item[rows[-3:]].tolist()


def test_users_with_too_few_ratings_are_left_out():
    some = DATA.rows((DATA.user != 3) | (DATA.time < 6))
    found = drawn(tasks.ratings(some, num_shots=4, num_queries=3), 200)
    assert {*np.unique(found.query.x["user"]).tolist()} == {*range(12)} - {3}
    with pytest.raises(ValueError, match="no user has as many ratings: the most are 9"):
        tasks.ratings(DATA, num_shots=7, num_queries=3)
    with pytest.raises(ValueError, match=r"features \['age'\] of users and of items"):
        tasks.ratings(DATA._replace(items=DATA.items | {"age": DATA.items["year"]}))
