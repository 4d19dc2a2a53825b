"""Boosting over tasks: two outer steps against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
S, DECAY, RATE, POWER = 3, 0.9, 0.1, 2.0
TARGETS = np.array([1.0, -2.0, 4.0])
MODEL = jm.from_functions(lambda key, x: jax.random.normal(key, (1,)), lambda v, x: v.params[None] + 0 * x)
MEMBER = jm.maml(MODEL, jm.losses.mse, num_steps=0)  # predicts its parameter: the loss of task t is (p - c_t)^2


def tasks():
    batch = Batch(jnp.zeros((3, 1, 1)), jnp.asarray(TARGETS)[:, None, None])
    return Task(batch, batch)


def test_two_steps_by_numpy():
    learner, sgd = jm.boosting(MEMBER, num_members=S, decay=DECAY, power=POWER), optax.sgd(RATE)
    first = jax.tree.map(lambda a: a[0], tasks())
    state = jm.init(learner, first, sgd, key=jax.random.key(0))
    step = jax.jit(jm.meta_step(learner, sgd))
    p, difficulty, mass = np.array(state.meta.params[:, 0]), np.zeros(S - 1), np.zeros(S - 1)
    for _ in range(2):
        state, _ = step(state, tasks())
        losses = (p[None] - TARGETS[:, None]) ** 2  # [T, S]
        earlier = np.stack([losses[:, :s].mean(1) for s in range(1, S)], 1)
        ratio = earlier * mass / difficulty if mass[0] > 0 else np.ones_like(earlier)
        weights = np.concatenate([np.ones((3, 1)), ratio**POWER], 1)
        p = p - RATE * (weights * 2 * (p[None] - TARGETS[:, None])).mean(0)
        difficulty = difficulty + (1 - DECAY) * (earlier.mean(0) - difficulty)
        mass = mass + (1 - DECAY) * (1 - mass)
        np.testing.assert_allclose(state.meta.params[:, 0], p, rtol=1e-6)  # the state starts in float32
        np.testing.assert_allclose(state.meta.state.difficulty, difficulty, rtol=1e-6)
        np.testing.assert_allclose(state.meta.state.mass, mass, rtol=1e-6)


def test_without_power_it_is_bagging():
    boosted, bagged = jm.boosting(MEMBER, num_members=S, power=0.0), jm.bagging(MEMBER, num_members=S)
    one, params = jax.tree.map(lambda a: a[2], tasks()), jnp.array([[0.5], [1.0], [2.0]])
    meta = boosted.init(jax.random.key(0), one)._replace(params=params)
    meta = meta._replace(state=meta.state._replace(difficulty=jnp.array([3.0, 1.0]), mass=jnp.ones(2)))
    np.testing.assert_allclose(boosted.loss(meta, one)[0], bagged.loss(Variables(params), one)[0], rtol=1e-12)
    predict = lambda learner, meta: learner.predict(meta, learner.adapt(meta, one.support), one.query.x)
    np.testing.assert_allclose(predict(boosted, meta), [[3.5 / 3]], rtol=1e-12)
    np.testing.assert_array_equal(predict(boosted, meta), predict(bagged, Variables(params)))


@pytest.mark.parametrize("options", [{"power": -1.0}, {"decay": 1.0}, {"num_members": 0}, {"average_of": "votes"}])
def test_errors(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options)).replace('_of', '')}"):
        jm.boosting(MEMBER, **options)
