"""Turned images and streams of alphabets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta import tasks
from jaxmeta.tasks._rotated import turn_images
from jaxmeta.types import ClassSet

rng = np.random.default_rng(0)
NAMES = tuple(f"{a}/{i}" for a, n in zip("abcd", (4, 2, 5, 3), strict=True) for i in range(n))
# Every pixel of an image holds its class, so that a task says where it is from.
DATA = ClassSet(
    np.repeat(np.arange(14, dtype=np.uint8), 3)[:, None, None, None] * np.ones((1, 6, 6, 1), np.uint8),
    np.arange(0, 42, 3),
    np.full(14, 3),
    NAMES,
)
SMALL = {"num_ways": 3, "num_shots": 1, "num_queries": 2}


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(2, 7, 7), (2, 6, 6, 3)])
def test_quarter_turns_are_rot90(quarters, shape):
    images = jnp.asarray(rng.uniform(size=shape), jnp.float32)
    turned = turn_images(images, jnp.float32(90.0 * quarters))
    edge = slice(1, -1)  # at the edge, rounding can look outside the image
    expected = jnp.rot90(images, quarters, (1, 2))
    np.testing.assert_allclose(turned[:, edge, edge], expected[:, edge, edge], atol=1e-4)


def test_an_eighth_turn_twice_is_a_quarter_turn_in_the_middle():
    smooth = jnp.asarray(np.exp(-((np.indices((15, 15)) - [[[5]], [[8]]]) ** 2).sum(0) / 8), jnp.float32)[None]
    twice = turn_images(turn_images(smooth, jnp.float32(45)), jnp.float32(45))
    np.testing.assert_allclose(twice, jnp.rot90(smooth, 1, (1, 2)), atol=0.1)


def test_phases_are_alphabets_with_one_program():
    options = {"num_phases": 3, "classes_per_phase": 3, "max_degrees": 0.0, **SMALL}
    phases = tasks.stream(DATA, **options)
    fetch = jax.jit(lambda sampler, key: sampler(key).query.x.max((1, 2, 3)) * 255)
    seen = [{round(float(v)) for k in range(4) for v in fetch(p, jax.random.key(k))} for p in phases]
    assert fetch._cache_size() == 1
    assert sorted(map(sorted, seen)) == [[0, 1, 2], [6, 7, 8], [11, 12, 13]]  # b has too few characters
    assert [float(p.degrees) for p in tasks.stream(DATA, **{**options, "max_degrees": 90.0})] == [0, 30, 60]
    assert phases[0].sampler.x is phases[1].sampler.x


@pytest.mark.parametrize(
    "change, text",
    [
        ({"num_phases": 4}, "only 3 of 4 alphabets"),
        ({"classes_per_phase": 2}, "`num_ways` is 3"),
    ],
)
def test_errors(change, text):
    with pytest.raises(ValueError, match=text):
        tasks.stream(DATA, **{"num_phases": 2, "classes_per_phase": 3, **SMALL, **change})


def test_only_images_turn():
    with pytest.raises(ValueError, match="`rotated` turns square images"):
        tasks.rotated(tasks.sinusoid(), 90)(jax.random.key(0))
