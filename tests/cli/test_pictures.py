"""The larger held-out task, and what is drawn from it."""

import jax
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta.recipes import Experiment, by_split, nearest_neighbour
from jaxmeta.runs._held_out import WAYS, class_names, embedding, held_out, outputs
from jaxmeta.runs._pictures import pictures
from jaxmeta.types import Batch, ClassSet, Variables

NOTHING = Variables({})
PIXELS = jm.from_functions(lambda key, x: {}, lambda variables, x: x.reshape(len(x), -1) * 3)


def classes(num_classes=12, count=9):
    """Class ``c`` is a bright pixel at ``c`` and some noise."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60, (num_classes * count, 4, 4, 1), np.uint8)
    x.reshape(num_classes, count, 16)[np.arange(num_classes), :, np.arange(num_classes)] = 255
    start = count * np.arange(num_classes, dtype=np.int32)
    return ClassSet(x, start, np.full(num_classes, count, np.int32), tuple(f"class{c}" for c in range(num_classes)))


def sampler(num_ways=3, num_queries=2, **options):
    return jm.tasks.episodes(classes(), num_ways=num_ways, num_shots=1, num_queries=num_queries, **options)


def test_more_classes_where_the_learner_can_tell_them_apart():
    found = held_out(nearest_neighbour(), NOTHING, sampler())
    assert found.num_ways == WAYS == len(set(found.names)) and set(found.names) < set(classes().names)
    assert found.num_parts == 4 and found.task.query.y.shape == (WAYS * 8,)  # of 9 drawings one is the shot
    for row, name in enumerate(found.names):  # the names belong to the classes
        assert found.task.support.x[row].ravel().argmax() == classes().names.index(name)
    again = held_out(nearest_neighbour(), NOTHING, sampler())
    np.testing.assert_array_equal(again.task.query.x, found.task.query.x)


def test_names_of_the_classes_of_drawn_tasks():
    keys, tasks = jax.random.split(jax.random.key(3), 4), sampler()
    for key, names in zip(keys, class_names(tasks, keys), strict=True):
        pixels = tasks(key).support.x.reshape(3, 16).argmax(1)
        assert [classes().names[c] for c in pixels] == names
    assert class_names(jm.tasks.glyphs(), keys) is None


@pytest.mark.parametrize("num_ways", [2, 5])
def test_a_head_of_fixed_size_keeps_its_ways(num_ways):
    net = jm.from_linen(jm.backbones.MLP((4,), num_outputs=num_ways))
    learner = jm.maml(net, jm.losses.cross_entropy, num_steps=1)
    tasks = sampler(num_ways)
    meta = jm.init(learner, tasks, optax.adam(1e-3), key=jax.random.key(0)).meta
    found = held_out(learner, meta, tasks)
    assert found.num_ways == num_ways and outputs(learner, meta, found)[0].shape[-1] == num_ways


def test_turned_classes_say_so():
    found = held_out(nearest_neighbour(), NOTHING, sampler(rotate="extra"))
    assert any(", turned 90°" in name or ", turned 270°" in name for name in found.names)
    for row, name in enumerate(found.names):
        own, _, turned = name.partition(", turned ")
        image = np.rot90(found.task.support.x[row], -int(turned[:-1] or 0) // 90 if turned else 0)
        assert image.ravel().argmax() == classes().names.index(own)


def test_predictions_see_as_many_queries_at_a_time_as_in_the_samplers_tasks():
    """A learner that uses batch statistics is drawn as it is measured."""
    tasks = sampler(num_ways=3, num_queries=2)
    centred = lambda x: (z := x.reshape(len(x), -1)) - z.mean(0, keepdims=True)
    learner = jm.protonet(jm.from_functions(lambda key, x: {}, lambda variables, x: centred(x)))
    found = held_out(learner, NOTHING, tasks)
    logits, labels = outputs(learner, NOTHING, found)
    assert logits.shape == (4, WAYS * 2, WAYS) and (np.sort(labels, 1) == np.repeat(np.arange(WAYS), 2)).all()
    adapted, x = learner.adapt(NOTHING, found.task.support), found.task.query.x.reshape(WAYS, 4, 2, 4, 4, 1)
    expected = learner.predict(NOTHING, adapted, x[:, 1].reshape(-1, 4, 4, 1))
    np.testing.assert_allclose(logits[1], expected, rtol=1e-5, atol=1e-5)


def test_features_are_those_of_the_model():
    learner = jm.protonet(PIXELS)
    found = held_out(learner, NOTHING, sampler())
    space = embedding(learner, NOTHING, found)
    assert space is not None
    features, prototypes = space
    np.testing.assert_allclose(features, 3 * found.task.query.x.reshape(len(features), -1), rtol=1e-6)
    np.testing.assert_allclose(prototypes, 3 * found.task.support.x.reshape(WAYS, -1), rtol=1e-6)


def test_no_map_of_a_space_that_does_not_decide():
    learner = jm.protonet(PIXELS)
    found = held_out(learner, NOTHING, sampler())
    other = learner._replace(predict=lambda meta, adapted, x, key=None: -learner.predict(meta, adapted, x))
    assert embedding(other, NOTHING, found) is None  # the farthest prototype decides
    assert embedding(nearest_neighbour(), NOTHING, found) is None  # it has no prototypes at all


def test_samplers_without_such_a_task():
    assert held_out(nearest_neighbour(), NOTHING, jm.tasks.sinusoid()) is None


def test_what_is_drawn_of_images(tmp_path):
    learner, tasks = jm.protonet(PIXELS), sampler()
    e = Experiment(learner, optax.sgd(0.1), by_split(train=lambda: tasks, test=lambda: tasks), 1, 1, "")
    for draw in pictures(tmp_path, e, NOTHING).values():
        draw()
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {"episodes.png", "reliability.png", "confusion.png", "embedding.png"}


def test_varying_ways_and_shots_are_fixed_at_their_most():
    tasks = jm.tasks.episodes(classes(), num_ways=(2, 4), num_shots=(1, 3), num_queries=2)
    found = held_out(nearest_neighbour(), NOTHING, tasks)
    assert found.task.support.y.shape == (3 * WAYS,) and found.task.query.y.shape == (6 * WAYS,)
    assert isinstance(found.task.query, Batch) and found.task.query.weight is None
