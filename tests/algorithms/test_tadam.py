"""TADAM against NumPy: the condition from the mean prototype, FiLM, the scale; at the start it is ProtoNet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import jaxmeta as jm
from jaxmeta import Batch, Task

NONE = np.zeros(6)


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.LayerNorm(name="norm")(linen.Dense(3, name="dense")(x))


def setup():
    rng = np.random.default_rng(0)
    x, ways = jnp.array(rng.normal(size=(9, 2))), jnp.array([True, True, False])
    support = Batch(x[:5], jnp.array([0, 1, 1, 0, 0]), jnp.array([1.0, 2.0, 1.0, 0.0, 1.0]), ways)
    return Task(support, Batch(x[5:], jnp.array([0, 1, 1, 0]), ways=ways)), jm.from_linen(Net())


@pytest.mark.usefixtures("x64")
def test_numpy_reference():
    task, model = setup()
    learner = jm.tadam(model, conditioned=["norm", "dense"], hidden=4)
    rng = np.random.default_rng(1)
    meta = learner.init(jax.random.key(0), task)
    meta = meta._replace(params=jax.tree.map(lambda a: jnp.array(rng.normal(size=a.shape)), meta.params))
    p = jax.tree.map(np.asarray, meta.params)

    def network(x, film=NONE, shift=NONE[:3]):
        z = x @ p["model"]["dense"]["kernel"] + p["model"]["dense"]["bias"] + shift
        z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-6)
        z = z * p["model"]["norm"]["scale"] + p["model"]["norm"]["bias"]
        return (1 + film[:3]) * z + film[3:]

    s, weight, y = np.asarray(task.support.x), np.asarray(task.support.weight), np.asarray(task.support.y)
    means = lambda z: np.stack([(weight * (y == w)) @ z / (weight * (y == w)).sum() for w in range(2)])
    mean = means(network(s)).mean(0)

    def condition(c):
        first, second = c["net"]["dense0"], c["net"]["dense1"]
        return c["post"] * (np.maximum(mean @ first["kernel"] + first["bias"], 0) @ second["kernel"] + second["bias"])

    film, shift = condition(p["condition"]["norm"]), condition(p["condition"]["dense"])
    z, c = network(np.asarray(task.query.x), film, shift), means(network(s, film, shift))
    expected = -np.exp(p["log_scale"]) * ((z[:, None] - c[None]) ** 2).sum(-1)
    outputs = jax.jit(lambda task: learner.predict(meta, learner.adapt(meta, task.support), task.query.x))(task)
    np.testing.assert_allclose(outputs[:, :2], expected, rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_the_start_is_protonet():
    task, model = setup()
    learner = jm.tadam(model, conditioned=["norm"])
    meta = learner.init(jax.random.key(0), task)
    wanted = jm.protonet(model).loss(meta._replace(params=meta.params["model"]), task, None)[0]
    np.testing.assert_allclose(learner.loss(meta, task, None)[0], wanted, rtol=1e-10)


def test_bad_arguments():
    task, model = setup()
    with pytest.raises(ValueError, match=r"`conditioned` has \['norm9'\], .* There are \['dense', 'norm'\]"):
        jm.tadam(model, conditioned=["norm9"]).init(jax.random.key(0), task)
    with pytest.raises(ValueError, match="`conditioned` must name layers"):
        jm.tadam(model, conditioned=[])
