"""Episodes: what is drawn is distinct, disjoint, uniform, padded and turned as the protocol says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta import tasks
from jaxmeta.types import ClassSet

call = jax.jit(lambda sampler, key: sampler(key))
SIDE = 4
COUNTS = [6, 9, 7, 6, 12, 8]
SHAPE = {"num_ways": 4, "num_shots": 2, "num_queries": 4}
RANGES = {"num_ways": (2, 4), "num_shots": (1, 3), "num_queries": 2, "rotate": "draw"}


def class_set(counts=COUNTS, dtype=np.uint8):
    """Asymmetric images: pixel (0, 0) holds the class + 1, pixel (0, 1) the example + 1."""
    counts = np.array(counts, np.int32)
    start = np.cumsum(counts, dtype=np.int32) - counts
    x = np.zeros([int(counts.sum()), SIDE, SIDE, 1], dtype)
    for c, (s, n) in enumerate(zip(start, counts, strict=True)):
        x[s : s + n, 0, 0, 0], x[s : s + n, 0, 1, 0] = c + 1, np.arange(n) + 1
    return ClassSet(x, start, counts, tuple(f"class{c}" for c in range(len(counts))))


def read(x):
    """Class, example and turn of every image: the inverse of `class_set` and of rotation."""
    x = np.rint(np.asarray(x)[..., 0] * 255).astype(int)
    out = []
    for image in x:
        turn = next(t for t in range(4) if np.rot90(image, -t)[0, 0])
        upright = np.rot90(image, -turn)
        out.append((upright[0, 0] - 1, upright[0, 1] - 1, turn))
    return np.array(out)


def many(sampler, n, seed=0):
    return jax.jit(lambda s, k: jax.vmap(s.draw)(k))(sampler, jax.random.split(jax.random.key(seed), n))


def chi_square(counts):
    """Pearson's statistic against uniformity, in standard deviations from its mean."""
    expected, free = counts.mean(), counts.size - 1
    return (((counts - expected) ** 2).sum() / expected - free) / np.sqrt(2 * free)


def test_shapes_labels_and_scaling():
    task = call(tasks.episodes(class_set(), **SHAPE), jax.random.key(0))
    assert task.support.x.shape == (8, SIDE, SIDE, 1) and task.query.x.shape == (16, SIDE, SIDE, 1)
    assert task.support.x.dtype == jnp.float32 and task.support.y.dtype == jnp.int32
    np.testing.assert_array_equal(task.support.y, np.repeat(np.arange(4), 2))
    np.testing.assert_array_equal(task.query.y, np.repeat(np.arange(4), 4))
    assert task.support.weight is None and task.query.weight is None
    assert task.support.ways.tolist() == task.query.ways.tolist() == [True] * 4
    np.testing.assert_allclose(np.asarray(task.support.x).max(), read(task.support.x)[:, :2].max() / 255 + 1 / 255)


@pytest.mark.parametrize("rotate", [None, "extra", "draw"])
def test_classes_distinct_and_sets_disjoint(rotate):
    sampler = tasks.episodes(class_set(), **SHAPE, rotate=rotate)
    for seed in range(20):
        task = call(sampler, jax.random.key(seed))
        support, query = read(task.support.x).reshape(4, 2, 3), read(task.query.x).reshape(4, 4, 3)
        rows = np.concatenate([support, query], 1)
        assert all(len({tuple(r) for r in way}) == 6 for way in rows)
        assert (rows[:, :, [0, 2]] == rows[:, :1, [0, 2]]).all(), "one class and one turn per way"
        identity = rows[:, 0, [0, 2]] if rotate == "extra" else rows[:, 0, [0]]
        assert len({tuple(i) for i in identity}) == 4
        assert (rows[:, :, 1] < np.array(COUNTS)[rows[:, :, 0]]).all()


def test_turns_differ_between_the_classes_of_a_task():
    for rotate in ("extra", "draw"):
        sampler = tasks.episodes(class_set(), num_ways=3, num_shots=1, num_queries=1, rotate=rotate)
        turns = many(sampler, 2000).turns
        assert chi_square(np.bincount(np.asarray(turns).ravel(), minlength=4)) < 4
        same = float((turns == turns[:, :1]).all(1).mean())
        assert 0.03 < same < 0.1, f"{rotate}: {same:.0%} of tasks turn all classes alike, not 1/16"


def test_extra_holds_four_times_the_classes():
    sampler = tasks.episodes(class_set([6, 6]), num_ways=8, num_shots=1, num_queries=1, rotate="extra")
    indices = sampler.draw(jax.random.key(0))
    pairs = set(zip(indices.classes.tolist(), indices.turns.tolist(), strict=True))
    assert pairs == {(c, t) for c in range(2) for t in range(4)}


def test_uniform_over_classes_and_examples():
    indices = many(tasks.episodes(class_set(), num_ways=3, num_shots=1, num_queries=2), 6000)
    assert indices.turns is None and indices.slots is None
    for way in range(3):
        assert chi_square(np.bincount(indices.classes[:, way], minlength=len(COUNTS))) < 4
    for c, (start, count) in enumerate(zip(class_set().start, COUNTS, strict=True)):
        mine = np.asarray(indices.rows)[np.asarray(indices.classes) == c] - start
        for place in range(3):
            assert chi_square(np.bincount(mine[:, place], minlength=count)) < 4


def test_variable_ways_and_shots():
    sampler = tasks.episodes(class_set(), **RANGES)
    batch = jax.jit(lambda s, k: jax.vmap(s)(k))(sampler, jax.random.split(jax.random.key(0), 300))
    ways = np.asarray(batch.support.ways)
    assert chi_square(np.bincount(ways.sum(1), minlength=5)[2:]) < 4
    assert (np.sort(~ways, 1) == ~ways).all(), "present ways come first"
    np.testing.assert_array_equal(ways, batch.query.ways)
    support = np.asarray(batch.support.weight).reshape(-1, 4, 3)
    shots = support.sum(2).max(1)
    assert chi_square(np.bincount(shots.astype(int), minlength=4)[1:]) < 4
    np.testing.assert_array_equal(support, ways[:, :, None] * (np.arange(3) < shots[:, None, None]))
    np.testing.assert_array_equal(batch.query.weight, np.repeat(ways, 2, 1))
    assert batch.support.weight.dtype == jnp.float32


def test_padding_repeats_examples_of_the_same_task():
    sampler = tasks.episodes(class_set(), **RANGES)
    for seed in range(10):
        task = call(sampler, jax.random.key(seed))
        for batch in task:
            rows, hidden = read(batch.x), np.asarray(batch.weight) == 0
            rows = np.concatenate([rows, np.asarray(batch.y)[:, None]], 1)
            assert {tuple(r) for r in rows[hidden]} <= {tuple(r) for r in rows[~hidden]}
        shown = [{tuple(r) for r, w in zip(read(b.x), b.weight, strict=True) if w} for b in task]
        assert not shown[0] & shown[1]


def test_range_of_one_is_fixed_where_the_other_varies():
    task = call(tasks.episodes(class_set(), num_ways=3, num_shots=(1, 2), num_queries=1), jax.random.key(0))
    assert task.support.ways.tolist() == [True] * 3 and task.query.weight.tolist() == [1.0] * 3


def test_other_types_pass_untouched():
    tokens = np.arange(48 * 5, dtype=np.int32).reshape(48, 5)
    data = class_set()._replace(x={"tokens": tokens, "length": np.full(48, 0.5, np.float32)})
    task = call(tasks.episodes(data, num_ways=2, num_shots=3, num_queries=2), jax.random.key(0))
    assert task.support.x["tokens"].shape == (6, 5) and task.support.x["tokens"].dtype == jnp.int32
    assert task.query.x["length"].tolist() == [0.5] * 4


def test_data_is_an_argument_of_the_program():
    def program(counts):
        sampler = tasks.episodes(class_set(counts), num_ways=3, num_shots=1, num_queries=2, rotate="extra")
        return jax.jit(lambda s, k: s(k)).lower(sampler, jax.random.key(0)).as_text()

    assert abs(len(program([500] * 6)) - len(program([6] * 6))) < 1000


def test_names_are_kept_beside_the_program():
    sampler = tasks.episodes(class_set(), **SHAPE)
    other = tasks.episodes(class_set()._replace(names=tuple("uvwxyz")), **SHAPE)
    assert sampler.names[0] == "class0" and other.names == tuple("uvwxyz")
    assert jax.tree.structure(sampler) == jax.tree.structure(other)


def test_samplers_of_one_shape_share_a_compilation():
    call(tasks.episodes(class_set(), **SHAPE), jax.random.key(0))
    size = call._cache_size()
    call(tasks.episodes(class_set(COUNTS[::-1]), **SHAPE), jax.random.key(1))
    assert call._cache_size() == size


OK = {"num_ways": 2, "num_shots": 1, "num_queries": 2}
NAN = class_set(dtype=np.float32)
NAN.x[7, 1, 1, 0] = np.nan


@pytest.mark.parametrize(
    "data, change, error, words",
    [
        (class_set(), {"num_ways": 7}, ValueError, ["`num_ways` is 7", "6 classes", "fewer ways"]),
        (
            class_set(),
            {"num_ways": (2, 25), "rotate": "extra"},
            ValueError,
            ["is 25", "24 classes"],
        ),
        (
            class_set(),
            {"num_shots": 5},
            ValueError,
            ["5 + 2 = 7", "'class0'", "only 6 examples"],
        ),
        (class_set(), {"num_shots": 0}, ValueError, ["`num_shots`", "positive", "got 0"]),
        (class_set(), {"num_queries": -1}, ValueError, ["`num_queries`", "positive", "got -1"]),
        (class_set(), {"num_ways": 2.0}, TypeError, ["`num_ways`", "whole number", "2.0", "float"]),
        (class_set(), {"num_ways": (5, 3)}, ValueError, ["`num_ways`", "(5, 3)", "write (3, 5)"]),
        (class_set(), {"num_shots": (1, 2, 3)}, ValueError, ["`num_shots`", "pair", "(1, 2, 3)"]),
        (class_set(), {"rotate": True}, ValueError, ["`rotate`", '"extra"', '"draw"', "True"]),
        (
            class_set()._replace(x=np.zeros([48, 4, 5])),
            {"rotate": "draw"},
            ValueError,
            ["(48, 4, 5)"],
        ),
        (ClassSet(np.zeros([0, 4]), np.zeros(0), np.zeros(0), ()), {}, ValueError, ["`data` has no classes"]),
        (NAN, {}, ValueError, ["NaN", "row 7"]),
        (class_set()._replace(x=np.zeros([9, 4])), {}, ValueError, ["9 rows", "48"]),
        (class_set()._replace(x=(np.zeros([48, 4]), np.zeros(40))), {}, ValueError, ["`data.x`", "[40, 48]"]),
        (class_set()._replace(start=np.zeros(3)), {}, ValueError, ["3 starts", "6 counts"]),
        (class_set().x, {}, TypeError, ["`data` must be a ClassSet", "ndarray", "from_arrays"]),
    ],
)
def test_bad_input(data, change, error, words):
    with pytest.raises(error) as raised:
        tasks.episodes(data, **(OK | change))
    assert all(word in str(raised.value) for word in words), str(raised.value)
