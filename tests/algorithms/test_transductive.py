"""TIM and PT-MAP against NumPy, with a hidden query and an absent class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import softmax

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
SHOWN = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 1.0])


def setup():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)), np.array([0, 1, 1, 0])
    support = Batch(jnp.array(x[:4]), jnp.array(y), jnp.array([1.0, 2.0, 1.0, 1.0]), jnp.array([True, True, False]))
    return x, y, np.array([1.0, 2.0, 1.0, 1.0]), support


def unit(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def distances(z, means):
    return ((z[:, None] - means[None]) ** 2).sum(-1)


def class_means(z, y, weight):
    return np.stack([(weight * (y == w)) @ z / (weight * (y == w)).sum() for w in range(2)])


def predict(learner, support, x):
    meta = learner.init(jax.random.key(0), Task(support, support))
    run = jax.jit(lambda support, x, shown: learner.predict(meta, learner.adapt(meta, support), x, weight=shown))
    outputs = run(support, jnp.array(x), jnp.array(SHOWN))
    assert (outputs[:, 2] < -1e30).all()
    return np.asarray(outputs)[:, :2]


def numeric_gradient(function, at, step=1e-6):
    grad = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        move = np.zeros_like(at)
        move[i] = step
        grad[i] = (function(at + move) - function(at - move)) / (2 * step)
    return grad


def test_tim_takes_the_steps_of_adam_on_its_objective():
    x, y, weight, support = setup()
    z, queries = unit(x[:4]), unit(x[4:])[SHOWN > 0]

    def objective(means):
        logits = lambda z: -7.5 * distances(z, means)
        known = -(weight * np.log(softmax(logits(z)))[np.arange(4), y]).sum() / weight.sum()
        p = softmax(logits(queries))
        marginal = p.mean(0)
        return 0.2 * known + 0.7 * (marginal * np.log(marginal)).sum() - 0.3 * (p * np.log(p)).sum(1).mean()

    means, m, v = class_means(z, y, weight), 0.0, 0.0
    for t in range(1, 4):
        g = numeric_gradient(objective, means)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        means = means - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t) + 1e-8) + 1e-8)
    options = {"support_weight": 0.2, "marginal_weight": 0.7, "conditional_weight": 0.3}
    ours = predict(jm.tim(jm.identity(), num_steps=3, learning_rate=0.01, **options), support, x[4:])
    np.testing.assert_allclose(ours[SHOWN > 0], -7.5 * distances(queries, means), rtol=1e-6)


def test_pt_map_by_loops():
    x, y, weight, support = setup()
    power = lambda z: unit(np.sign(z) * np.abs(z) ** 0.5)
    z, queries = power(x[:4]), power(x[4:])
    mean = (weight @ z + SHOWN @ queries) / (weight.sum() + SHOWN.sum())
    z, queries = unit(z - mean), unit(queries - mean)[SHOWN > 0]
    means = class_means(z, y, weight)
    member = weight[:, None] * np.eye(2)[y]

    def shares(means):
        plan = np.exp(-10 * distances(queries, means))
        plan /= plan.sum(1, keepdims=True)
        for _ in range(30):
            plan *= 2.5 / plan.sum(0, keepdims=True)
            plan /= plan.sum(1, keepdims=True)
        return plan

    for _ in range(4):
        plan = shares(means)
        target = (member.T @ z + plan.T @ queries) / (member.sum(0) + plan.sum(0))[:, None]
        means = means + 0.2 * (target - means)
    ours = predict(jm.pt_map(jm.identity(), num_steps=4, num_sinkhorn=30), support, x[4:])[SHOWN > 0]
    np.testing.assert_allclose(ours, np.log(shares(means)), rtol=1e-8, atol=1e-10)
    longer = np.exp(predict(jm.pt_map(jm.identity(), num_steps=4, num_sinkhorn=1000), support, x[4:])[SHOWN > 0])
    np.testing.assert_allclose(longer.sum(0), 2.5, rtol=1e-6)  # equal shares
    np.testing.assert_allclose(longer.sum(1), 1, rtol=1e-10)


@pytest.mark.parametrize("make", [jm.tim, jm.pt_map])
def test_training_is_that_of_prototypes_and_predictions_are_transductive(make):
    x, _, _, support = setup()
    learner, meta, queries = make(jm.identity(), num_steps=2), Variables({}), jnp.array(x[4:])
    outputs = jax.jit(lambda x: learner.predict(meta, learner.adapt(meta, support), x))
    alone = jnp.broadcast_to(queries[:1], queries.shape)
    assert not jnp.allclose(outputs(queries)[0], outputs(alone)[0])
    z, c = unit(x[4:]), class_means(unit(x[:4]), np.asarray(support.y), np.asarray(support.weight))
    if make is jm.tim:
        p = softmax(-7.5 * distances(z, c))[:, 1]
        task = Task(support, Batch(queries, jnp.ones(6, jnp.int32), ways=support.ways))
        np.testing.assert_allclose(learner.loss(meta, task, None)[0], -np.log(p).mean(), rtol=1e-9)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_steps` must be >= 0, got -1"):
        jm.tim(jm.identity(), num_steps=-1)
    with pytest.raises(ValueError, match="`step` 0 to 1"):
        jm.pt_map(jm.identity(), step=2.0)
