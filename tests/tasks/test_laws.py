"""What holds for every sampler: a new one adds one row."""

import jax
import numpy as np
import pytest

from jaxmeta import datasets, tasks
from jaxmeta.types import ClassSet

rng = np.random.default_rng(0)
DATA = ClassSet(rng.integers(0, 256, [40, 6, 6, 1], dtype=np.uint8), np.arange(0, 40, 8), np.full(5, 8), tuple("abcde"))
RATED, _ = datasets.invented_ratings(num_users=8, num_items=9, num_ratings=6, key=jax.random.key(0))
SMALL = {"num_ways": 3, "num_shots": 1, "num_queries": 2}
RANGES = {"num_ways": (2, 3), "num_shots": (1, 2), "num_queries": 2}
SAMPLERS = {
    "episodes": lambda: tasks.episodes(DATA, **SMALL, rotate="extra"),
    "batches": lambda: tasks.batches(DATA, batch_size=7, rotate="extra"),
    "streamed": lambda: tasks.streamed(DATA, **RANGES, rotate="draw"),
    "episodes_ranges": lambda: tasks.episodes(DATA, **RANGES, rotate="draw"),
    "sinusoid": lambda: tasks.sinusoid(noise=0.1),
    "lines": lambda: tasks.lines(noise=0.1),
    "mixture": lambda: tasks.mixture(tasks.sinusoid(), tasks.lines(), weights=(1, 2)),
    "varied": lambda: tasks.varied_episodes(DATA, num_ways=(2, 4), max_support=12, max_queries=3),
    "domains": lambda: tasks.domains({"waves": tasks.sinusoid(), "lines": tasks.lines()}),
    "ratings": lambda: tasks.ratings(RATED, num_shots=(1, 3), num_queries=2),
    "quadratics": lambda: tasks.quadratics(num_dims=3),
    "glyphs": lambda: tasks.glyphs(**SMALL),
    "rotated": lambda: tasks.rotated(tasks.episodes(DATA, **SMALL), 30),
    "augmented": lambda: tasks.augmented(tasks.episodes(DATA, **RANGES)),
    "augmented_batches": lambda: tasks.augmented(tasks.batches(DATA, batch_size=7)),
}
KEYS = jax.random.split(jax.random.key(0), 2)


@pytest.fixture(scope="module", params=SAMPLERS)
def sampler(request):
    return SAMPLERS[request.param]()


@pytest.fixture(scope="module")
def eager(sampler):
    return [sampler(key) for key in KEYS]


def assert_close(a, b, atol=1e-4):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), a, b)


def test_pure_function_of_its_key(sampler, eager):
    assert_close(sampler(KEYS[0]), eager[0], atol=0)
    first, second = (np.concatenate([np.ravel(a) for a in jax.tree.leaves(task.query.x)]) for task in eager)
    assert np.abs(first - second).max() > 1e-3


def test_jit_equals_eager_in_one_compilation(sampler, eager):
    call = jax.jit(lambda s, k: s(k))
    for key, task in zip(KEYS, eager, strict=True):
        assert_close(call(sampler, key), task)
    assert call._cache_size() == 1


def test_vmap_equals_loop(sampler, eager):
    batch = jax.jit(lambda s, k: jax.vmap(s)(k))(sampler, KEYS)
    for i, task in enumerate(eager):
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], batch), task)


def test_call_is_draw_then_fetch(sampler, eager):
    assert_close(sampler.fetch(sampler.draw(KEYS[1])), eager[1], atol=0)


def test_a_sampler_is_a_pytree_of_arrays(sampler, eager):
    leaves, structure = jax.tree.flatten(sampler)
    assert leaves and all(isinstance(leaf, jax.Array) for leaf in leaves)
    hash(structure)
    assert_close(jax.tree.unflatten(structure, leaves)(KEYS[0]), eager[0], atol=0)


def test_classes_are_those_of_its_tasks(sampler):
    """A sampler of episodes, wrapped or not, names the class of each way, and draws larger episodes of them."""
    classes = tasks.classes_of(sampler)
    if classes is None:
        return
    larger = sampler.with_layout(classes.layout._replace(num_queries=3))
    assert tasks.classes_of(larger).layout.num_queries == 3
    assert len(larger(KEYS[0]).query.y) == 3 * classes.layout.num_ways[1]
    numbers = np.asarray(sampler.class_indices(sampler.draw(KEYS[0])))
    assert numbers.shape == (classes.layout.num_ways[1],)
    if classes.count is not None:
        assert len(classes.names) == len(classes.count) > numbers.max()


def test_samplers_without_classes_say_none():
    without = {"batches", "sinusoid", "lines", "mixture", "quadratics", "augmented_batches"}
    without |= {"varied", "domains", "ratings"}  # no layout that is the same for all tasks, or no classes
    assert {name for name, make in SAMPLERS.items() if tasks.classes_of(make()) is None} == without
    assert tasks.classes_of(lambda key: None) is None


def test_names_of_turned_classes():
    images = np.zeros([20, 2, 2, 1], np.uint8)
    images[:, 0, 0] = 255  # turned counter-clockwise, the bright pixel moves down, right, up
    images[:, 1, 1, 0] = np.repeat(np.arange(5), 4)
    data = ClassSet(images, np.arange(0, 20, 4), np.full(5, 4), tuple("abcde"))
    sampler = tasks.episodes(data, **SMALL, rotate="extra")
    classes, indices = tasks.classes_of(sampler), sampler.draw(KEYS[0])
    for number, image in zip(sampler.class_indices(indices), sampler.fetch(indices).support.x, strict=True):
        name, _, turned = classes.names[number].partition(", turned ")
        image = np.rot90(image, -int(turned[:-1] or 0) // 90)
        assert image[0, 0] == 1 and round(float(image[1, 1, 0]) * 255) == "abcde".index(name)


def test_a_layout_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="`num_ways` is 9 but `data` has 5 classes"):
        sampler = tasks.rotated(tasks.episodes(DATA, **SMALL), 30)
        sampler.with_layout(tasks.Layout((9, 9), (1, 1), 1))


def test_support_and_query_agree(eager):
    for task in eager:
        for batch in filter(None, task):  # a mini-batch has no support set
            sizes = {leaf.shape[0] for leaf in jax.tree.leaves((batch.x, batch.y, batch.weight))}
            assert len(sizes) == 1
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(batch))
