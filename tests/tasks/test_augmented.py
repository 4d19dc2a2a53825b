"""Views of images: what a crop, a mirror and a light do by hand, and that a task is otherwise the one within."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta import tasks
from jaxmeta.tasks._augmented import cut, relight

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, [24, 12, 10, 3], dtype=np.uint8)
KEY = jax.random.key(0)


def sampler(x=IMAGES):
    from jaxmeta import datasets

    data = datasets.from_arrays(x, np.repeat(np.arange(4), 6))
    return tasks.episodes(data, num_ways=3, num_shots=2, num_queries=3)


def test_nothing_asked_changes_nothing():
    same = tasks.augmented(sampler(), crop=1.0, flip=False, jitter=0.0)
    draw = same.draw(KEY)
    jax.tree.map(np.testing.assert_array_equal, same(KEY), sampler().fetch(draw.indices))


def test_a_whole_image_is_itself_and_a_part_is_between_its_pixels():
    image = jnp.asarray(IMAGES[0], jnp.float32)
    np.testing.assert_allclose(cut(image, jnp.float32(1), jnp.array([0.3, 0.7])), image, atol=1e-4)
    plane = jnp.arange(12.0)[:, None, None] + 100 * jnp.arange(10.0)[None, :, None]
    part = cut(plane, jnp.float32(0.5), jnp.array([0.5, 0.5]))[..., 0]
    rows, columns = 3 + 0.5 * (np.arange(12) + 0.5) - 0.5, 2.5 + 0.5 * (np.arange(10) + 0.5) - 0.5
    np.testing.assert_allclose(part, rows[:, None] + 100 * columns[None], rtol=1e-5)


def test_light_by_hand():
    image = jnp.asarray(IMAGES[0] / 255, jnp.float32)
    np.testing.assert_allclose(relight(image, jnp.ones(3)), image, atol=1e-6)
    grey = np.asarray(image).mean(-1, keepdims=True)
    np.testing.assert_allclose(relight(image, jnp.array([0.0, 1.0, 1.0])), np.tile(grey, (1, 1, 3)), atol=1e-6)
    flat = relight(image, jnp.array([1.0, 0.0, 0.5]))
    np.testing.assert_allclose(flat, np.full_like(flat, float(image.mean()) / 2), atol=1e-6)
    assert (
        relight(image, jnp.array([1.0, 3.0, 2.0])).max() == 1 and relight(image, jnp.array([1.0, 3.0, 1.0])).min() == 0
    )


def test_half_are_mirrored_each_for_itself():
    mirrored = tasks.augmented(sampler(), crop=1.0, flip=True, jitter=0.0)
    many = jax.jit(jax.vmap(lambda key: mirrored.draw(key).query.mirrored))(jax.random.split(KEY, 200))
    assert abs(float(many.mean()) - 0.5) < 0.06 and 0 < float(many.std(0).min()) and 0 < float(many.std(1).min())
    draw = mirrored.draw(KEY)
    plain, seen = sampler().fetch(draw.indices), mirrored.fetch(draw)
    for batch, view, other in zip(seen, (draw.support, draw.query), plain, strict=True):
        for image, turned, before in zip(batch.x, view.mirrored, other.x, strict=True):
            np.testing.assert_array_equal(image, before[:, ::-1] if turned else before)


def test_views_are_within_bounds_and_labels_stay():
    seen = tasks.augmented(sampler(), crop=0.4, jitter=0.3)
    many = jax.jit(jax.vmap(seen.draw))(jax.random.split(KEY, 300))
    for view in (many.support, many.query):
        assert 0.4 <= view.side.min() < 0.42 and 0.98 < view.side.max() <= 1
        assert 0.7 <= view.light.min() < 0.71 and 1.29 < view.light.max() <= 1.3
    task, within = seen(KEY), sampler().fetch(seen.draw(KEY).indices)
    assert task.query.x.min() >= 0 and task.query.x.max() <= 1
    for a, b in zip(task, within, strict=True):
        assert a.x.shape == b.x.shape and (np.asarray(a.x) != np.asarray(b.x)).any()
        jax.tree.map(np.testing.assert_array_equal, a._replace(x=0), b._replace(x=0))


@pytest.mark.parametrize("wrong", [{"crop": 0.0}, {"crop": 1.5}, {"jitter": 1.0}, {"jitter": -0.1}])
def test_out_of_range(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` is .* got {next(iter(wrong.values()))}"):
        tasks.augmented(sampler(), **wrong)


def test_inputs_that_are_no_images():
    with pytest.raises(ValueError, match=r"`augmented` wants images \[N, H, W, channels\], but .*\(6, 12, 10\)"):
        tasks.augmented(sampler(IMAGES[..., 0]))(KEY)
