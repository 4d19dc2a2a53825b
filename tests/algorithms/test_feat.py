"""FEAT against NumPy, both terms of its loss; at the start it is ProtoNet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import softmax

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables


def setup():
    rng = np.random.default_rng(0)
    x, ways = jnp.array(rng.normal(size=(11, 3))), jnp.array([True, True, False])
    support = Batch(x[:5], jnp.array([0, 1, 1, 0, 0]), jnp.array([1.0, 2.0, 1.0, 0.0, 1.0]), ways)
    task = Task(support, Batch(x[5:], jnp.array([0, 1, 1, 0, 0, 1]), ways=ways))
    return task, {name: rng.normal(size=(3, 3)) for name in "qkvo"}


def numpy_attention(p, z):
    return z + softmax((z @ p["q"]) @ (z @ p["k"]).T / np.sqrt(3)) @ z @ p["v"] @ p["o"]


def cross_entropy(scores, y, weight):
    return -(weight * np.log(softmax(scores))[np.arange(len(y)), y]).sum() / weight.sum()


@pytest.mark.usefixtures("x64")
def test_numpy_reference():
    task, p = setup()
    meta = Variables({"model": (), "attention": jax.tree.map(jnp.array, p)})
    learner = jm.feat(jm.identity(), temperature=2.0, balance=0.3)
    weight = np.array([1.0, 2.0, 1.0, 0.0, 1.0, *[1.0] * 6])
    z, y = (np.concatenate([a, b]) for a, b in ((task.support.x, task.query.x), (task.support.y, task.query.y)))
    mean = lambda z, y, w: np.stack([(w * (y == c)) @ z / (w * (y == c)).sum() for c in range(2)])
    scores = lambda z, c: -((z[:, None] - c[None]) ** 2).sum(-1) / 2
    prototypes = numpy_attention(p, mean(z[:5], y[:5], weight[:5]))
    outputs = learner.predict(meta, learner.adapt(meta, task.support), task.query.x)
    np.testing.assert_allclose(outputs[:, :2], scores(z[5:], prototypes), rtol=1e-10)
    first = cross_entropy(scores(z[5:], prototypes), y[5:], np.ones(6))
    shown, inside = weight > 0, np.zeros_like(z)
    for c in range(2):
        inside[shown & (y == c)] = numpy_attention(p, z[shown & (y == c)])
    second = cross_entropy(scores(z, mean(inside, y, weight)), y, weight)
    np.testing.assert_allclose(learner.loss(meta, task, None)[0], first + 0.3 * second, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_the_start_is_protonet():
    task, _ = setup()
    learner = jm.feat(jm.identity())
    meta = learner.init(jax.random.key(0), task)
    wanted = jm.protonet(jm.identity()).loss(Variables(()), task, None)[0]
    np.testing.assert_allclose(learner.loss(meta, task, None)[0], wanted, rtol=1e-10)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`temperature` must be > 0, got 0"):
        jm.feat(jm.identity(), temperature=0)
    with pytest.raises(ValueError, match="`balance` must be >= 0, got -1"):
        jm.feat(jm.identity(), balance=-1)
