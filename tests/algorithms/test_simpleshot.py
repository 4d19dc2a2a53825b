"""SimpleShot by hand, its mean of training features, and embeddings that were trained by something else."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import KEY, Net, classification

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

IDENTITY = jm.from_functions(lambda key, x: (), lambda variables, x: x)
norm = lambda a: a / np.linalg.norm(a, axis=-1, keepdims=True)


@pytest.mark.parametrize("transform", ["un", "l2n", "cl2n"])
@pytest.mark.usefixtures("x64")
def test_by_hand(transform):
    """Transform, then average the classes, then squared distances."""
    rng = np.random.default_rng(0)
    base, x, query = rng.normal(size=(9, 3)) + 2, rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    t = {"un": lambda f: f, "l2n": norm, "cl2n": lambda f: norm(f - base.mean(0))}[transform]
    means = np.stack([t(x)[[0, 3]].mean(0), t(x)[[1, 2]].mean(0)])
    learner = jm.simpleshot(IDENTITY, transform=transform, scale=2.0, num_ways=2)
    meta = Variables(())
    if transform == "cl2n":  # batches of different sizes
        meta = jm.centre_features(IDENTITY, meta, (jnp.asarray(part) for part in (base[:4], base[4:])))
    adapted = learner.adapt(meta, Batch(jnp.asarray(x), jnp.array([0, 1, 1, 0])))
    np.testing.assert_allclose(adapted.means, means, rtol=1e-12)
    expected = -2 * ((t(query)[:, None] - means) ** 2).sum(-1)
    np.testing.assert_allclose(learner.predict(meta, adapted, jnp.asarray(query)), expected, rtol=1e-12)


@pytest.mark.parametrize("momentum, share", [(1.0, 1 / 3), (0.5, 0.5)])
@pytest.mark.usefixtures("x64")
def test_training_keeps_the_mean_of_query_features(momentum, share):
    """The first two steps count alike; the third by its share. Padding does not count."""
    learner = jm.simpleshot(IDENTITY, momentum=momentum, num_ways=2)
    x = jax.random.normal(KEY, (3, 4, 2), jnp.float64)
    y, weight = jnp.array([0, 1, 0, 1]), jnp.array([1.0, 1.0, 0.0, 1.0])
    tasks = [Task(Batch(row[:2] + 9, y[:2]), Batch(row, y, weight)) for row in x]
    meta, means = learner.init(KEY, tasks[0]), np.asarray(x)[:, [0, 1, 3]].mean(1)
    np.testing.assert_array_equal(meta.state["mean"], [0.0, 0.0])
    found = []
    for task in tasks:
        meta = meta._replace(state=learner.loss(meta, task, None)[1].state)
        found.append(np.asarray(meta.state["mean"]))
    second = (means[0] + means[1]) / 2
    np.testing.assert_allclose(found, [means[0], second, second + share * (means[2] - second)], rtol=1e-12)
    hidden = tasks[0]._replace(query=tasks[0].query._replace(weight=jnp.zeros(4)))
    np.testing.assert_array_equal(learner.loss(meta, hidden, None)[1].state["mean"], found[2])
    np.testing.assert_array_equal(learner.adapt(meta, tasks[0].support).state["mean"], found[2])


@pytest.mark.parametrize("policy", ["transductive", "support", "running"])
def test_the_model_keeps_its_own_state(policy):
    """Only the mean moves, and BatchNorm's statistics where its policy keeps them."""
    learner = jm.simpleshot(jm.from_linen(Net(norm=True), norm=policy))
    task = classification(KEY)
    meta = learner.init(KEY, task)
    state = learner.loss(meta, task, KEY)[1].state
    same = jax.tree.map(lambda a, b: bool((a == b).all()), state["model"], meta.state["model"])
    assert all(jax.tree.leaves(same)) == (policy != "running")
    assert state["count"] == 1 and not np.allclose(state["mean"], 0)


def test_an_embedding_trained_by_another_learner():
    """ProtoNet's meta, with a mean: as it is for UN and L2N; UN is ProtoNet. A second mean replaces the first."""
    model = jm.from_linen(Net(norm=True), norm="running")
    proto = jm.protonet(model)
    meta = jm.init(proto, classification, optax.sgd(0.1), key=KEY).meta
    task = classification(KEY)
    un = jm.simpleshot(model, transform="un")
    predict = lambda learner, meta: learner.predict(meta, learner.adapt(meta, task.support), task.query.x)
    np.testing.assert_array_equal(predict(un, meta), predict(proto, meta))
    assert predict(jm.simpleshot(model, transform="l2n"), meta).shape == (12, 3)
    centred = jm.centre_features(model, meta, [task.support.x, task.query.x])
    again = jm.centre_features(model, centred, [jnp.concatenate([task.support.x, task.query.x])])
    np.testing.assert_allclose(centred.state["mean"], again.state["mean"], rtol=1e-5)
    z = model.apply(meta, jnp.concatenate([task.support.x, task.query.x]), train=False)[0]
    np.testing.assert_allclose(centred.state["mean"], z.mean(0), rtol=1e-5)
    found = jm.evaluate(jm.simpleshot(model), centred, classification, num_tasks=4)
    assert not found["accuracy"].transductive


def test_errors():
    with pytest.raises(ValueError, match="`transform` must be 'cl2n', 'l2n' or 'un', got 'c'"):
        jm.simpleshot(IDENTITY, transform="c")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`momentum` must be from 0 to 1, got 2"):
        jm.simpleshot(IDENTITY, momentum=2.0)
    with pytest.raises(ValueError, match="holds no mean of training features to centre by. Make one with `centre_fe"):
        jm.simpleshot(IDENTITY, num_ways=2).adapt(Variables(()), Batch(jnp.ones((2, 2)), jnp.array([0, 1])))
    with pytest.raises(ValueError, match="`batches` holds no example"):
        jm.centre_features(IDENTITY, Variables(()), [])
