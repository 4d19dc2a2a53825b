"""Mini-batches: global labels, uniform over classes whatever their sizes, and a function of the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta import tasks
from jaxmeta.types import ClassSet

COUNTS = np.array([1, 5, 2, 20])
SIDE = 3


def class_set(counts=COUNTS):
    """Asymmetric images: pixel (0, 0) holds the class + 1, pixel (0, 1) the example + 1."""
    start = np.cumsum(counts) - counts
    x = np.zeros([counts.sum(), SIDE, SIDE], np.uint8)
    x[:, 0, 0] = np.repeat(np.arange(len(counts)), counts) + 1
    x[:, 0, 1] = np.arange(len(x)) - np.repeat(start, counts) + 1
    return ClassSet(x, start, counts, tuple("abcd"))


@pytest.mark.parametrize("rotate", [None, "extra"])
def test_labels_are_uniform_global_and_those_of_the_images(rotate):
    sampler = tasks.batches(class_set(), batch_size=500, rotate=rotate)
    keys = jax.random.split(jax.random.key(0), 40)
    many = jax.jit(jax.vmap(sampler))(keys)
    total = len(COUNTS) * (4 if rotate else 1)
    assert many.support is None and many.query.ways.shape == (40, total) and many.query.weight is None
    labels = np.asarray(many.query.y).ravel()
    counts = np.bincount(labels, minlength=total)
    expected = len(labels) / total
    spread = (((counts - expected) ** 2).sum() / expected - (total - 1)) / np.sqrt(2 * (total - 1))
    assert counts.size == total and abs(spread) < 4, counts
    images = np.rint(np.asarray(many.query.x).reshape(-1, SIDE, SIDE) * 255).astype(int)
    upright = np.array(
        [np.rot90(image, -(label % 4) if rotate else 0) for image, label in zip(images, labels, strict=True)]
    )
    np.testing.assert_array_equal(upright[:, 0, 0] - 1, labels // 4 if rotate else labels)
    last = upright[upright[:, 0, 0] == 4][:, 0, 1]
    assert np.bincount(last, minlength=21)[1:].min() > 0.6 * len(last) / 20  # examples are uniform within a class


def test_reproducible_from_the_key():
    draw = jax.jit(lambda sampler, key: sampler(key).query)
    first, second = (tasks.batches(class_set(), batch_size=64) for _ in range(2))
    a, b = draw(first, jax.random.key(3)), draw(second, jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert not jnp.array_equal(a.y, draw(first, jax.random.key(4)).y)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"batch_size": 0}, "`batch_size` must be a positive whole number, got 0"),
        ({"batch_size": 4, "rotate": "draw"}, 'must be "extra" or None, got .draw'),
        ({"batch_size": 4, "rotate": "extra ", "counts": COUNTS}, "`rotate` must be"),
        ({"batch_size": 4, "counts": np.array([2, 0, 3, 1])}, "Class 'b' of `data` has no examples"),
    ],
)
def test_errors(options, text):
    options = dict(options)
    with pytest.raises(ValueError, match=text):
        tasks.batches(class_set(options.pop("counts", COUNTS)), **options)
