"""Proto-MAML: without steps it is ProtoNet; with steps it is the loop written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
MODEL = jm.from_functions(lambda key, x: jnp.eye(3), lambda v, x: x @ v.params)


def setup():
    rng = np.random.default_rng(0)
    x, w = jnp.array(rng.normal(size=(8, 3))), jnp.array(rng.normal(size=(3, 3)))
    weight = jnp.array([1.0, 2.0, 1.0, 1.0, 1.0])
    support = Batch(x[:5], jnp.array([0, 0, 1, 2, 2]), weight, jnp.ones(3, bool))
    return w, Task(support, Batch(x[5:], jnp.array([0, 1, 2]), ways=jnp.ones(3, bool)))


def test_no_steps_are_protonet():
    """Loss, and its gradient through the prototypes."""
    w, task = setup()
    results = []
    for learner in (jm.proto_maml(MODEL, num_steps=0), jm.protonet(MODEL)):
        loss = lambda w, learner=learner: learner.loss(Variables(w), task, jax.random.key(0))[0]
        results.append(jax.value_and_grad(loss)(w))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), *results)


def test_steps_written_out():
    w, task = setup()
    support, query = task

    def start(w):
        z, weight = support.x @ w, support.weight
        means = jnp.stack([(weight * (support.y == c)) @ z / (weight * (support.y == c)).sum() for c in range(3)])
        return {"w": w, "kernel": 2 * means.T, "bias": -(means**2).sum(1)}

    def scores(p, x):
        return jax.nn.log_softmax(x @ p["w"] @ p["kernel"] + p["bias"][None])

    def inner(p):
        picked = jnp.take_along_axis(scores(p, support.x), support.y[:, None], 1)[:, 0]
        return -(support.weight * picked).sum() / support.weight.sum()

    def outer(w):
        p = start(w)
        for _ in range(3):
            p = jax.tree.map(lambda a, g: a - 0.1 * g, p, jax.grad(inner)(p))
        return -jnp.take_along_axis(scores(p, query.x), query.y[:, None], 1).mean()

    learner = jm.proto_maml(MODEL, inner_optimizer=optax.sgd(0.1), num_steps=3)
    loss = lambda w: learner.loss(Variables(w), task, jax.random.key(0))[0]
    found, wanted = jax.value_and_grad(loss)(w), jax.value_and_grad(outer)(w)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), found, wanted)
