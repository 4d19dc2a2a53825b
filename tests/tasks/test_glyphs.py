"""Invented characters: images in range, classes that keep their identity, tasks of middling difficulty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta import tasks
from jaxmeta.tasks._glyphs import Drawings

call = jax.jit(lambda sampler, key: sampler(key))
fetch = jax.jit(lambda sampler, indices: sampler.fetch(indices))
INDICES = Drawings(jnp.arange(5, dtype=jnp.int32), jnp.zeros([5, 3], jnp.uint32), None)


@jax.jit
def pixel_neighbour(sampler, keys):
    """Accuracy of the nearest neighbour on pixels; mean distances within and between classes."""

    def one(key):
        task = sampler(key)
        support, query = (b.x.reshape(len(b.y), -1) for b in task)
        distance = ((query[:, None, :] - support[None, :, :]) ** 2).sum(-1)
        same = task.query.y[:, None] == task.support.y[None, :]
        accuracy = jnp.mean(jnp.argmin(distance, 1) == task.query.y)
        return accuracy, distance.mean(where=same), distance.mean(where=~same)

    return jax.vmap(one)(keys)


@pytest.mark.parametrize("split", ["train", "test"])
def test_difficulty_and_class_identity(split):
    keys = jax.random.split(jax.random.key(0), 400)
    accuracy, within, between = pixel_neighbour(tasks.glyphs(num_queries=2, split=split), keys)
    assert 0.35 < accuracy.mean() < 0.52
    assert within.mean() < 0.9 * between.mean()


def test_jitter_sets_the_difficulty():
    keys = jax.random.split(jax.random.key(0), 400)
    samplers = [tasks.glyphs(num_queries=2, jitter=jitter) for jitter in (0.0, 0.5, 1.5)]
    accuracy = [pixel_neighbour(sampler, keys)[0].mean() for sampler in samplers]
    assert accuracy[0] > 0.99 > accuracy[1] > accuracy[2] + 0.1


def test_images_with_variable_ways_and_shots():
    task = call(tasks.glyphs(num_ways=(2, 4), num_shots=(1, 2), num_queries=3, size=20), jax.random.key(1))
    assert task.support.x.shape == (8, 20, 20, 1) and task.query.x.shape == (12, 20, 20, 1)
    assert task.support.x.dtype == jnp.float32 and task.support.y.dtype == jnp.int32
    x = np.concatenate([task.support.x, task.query.x])
    assert 0 <= x.min() and x.max() <= 1
    assert (x.max((1, 2, 3)) > 0.7).all(), "every image has ink"
    assert (np.median(x, (1, 2, 3)) < 0.1).all(), "on an empty ground"
    shown = [image.tobytes() for image, w in zip(task.query.x, task.query.weight, strict=True) if w]
    assert len(set(shown)) == len(shown) == 3 * task.query.ways.sum(), "no drawing twice"


def test_splits_and_seeds_are_disjoint():
    keys = jax.random.split(jax.random.key(0), 500)
    draw = jax.jit(lambda s, k: jax.vmap(s.draw)(k).classes)
    numbers = [draw(tasks.glyphs(num_queries=2, split=split), keys) for split in ("train", "val", "test")]
    for lower, upper in zip(numbers, numbers[1:], strict=False):
        assert lower.min() >= 0 and lower.max() < upper.min()
    assert draw._cache_size() == 1, "splits share one program"
    assert all(len(set(row)) == 5 for row in numbers[0].tolist())
    a, b = (fetch(tasks.glyphs(num_queries=2, seed=seed), INDICES).support.x for seed in (0, 1))
    assert np.abs(a - b).max() > 0.5


def test_a_class_is_the_same_in_every_task():
    sampler = tasks.glyphs(num_queries=2, jitter=0.0)
    other = INDICES._replace(classes=INDICES.classes[::-1], drawings=INDICES.drawings + 1)
    x, reversed_x = (fetch(sampler, i).support.x for i in (INDICES, other))
    np.testing.assert_allclose(x, reversed_x[::-1], atol=1e-4)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"split": "dev"}, ["`split`", "train, val, test", "'dev'"]),
        ({"jitter": -1.0}, ["`jitter`", ">= 0", "-1.0"]),
        ({"size": 0}, ["`size`", "positive", "0"]),
        ({"num_strokes": (4, 2)}, ["`num_strokes`", "(4, 2)", "write (2, 4)"]),
        ({"num_ways": -5}, ["`num_ways`", "-5"]),
    ],
)
def test_bad_input(change, words):
    with pytest.raises(ValueError) as raised:
        tasks.glyphs(**change)
    assert all(word in str(raised.value) for word in words), str(raised.value)
