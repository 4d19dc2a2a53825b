"""Stacking: the mean at the start, least squares at the end, members that train as if alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
rng = np.random.default_rng(0)
model = lambda scale: jm.from_functions(
    lambda key, x: scale * jax.random.normal(key, (3, 2)), lambda v, x: jnp.sin(scale * x) @ v.params
)
members = lambda loss_fn: [jm.maml(model(s), loss_fn, inner_optimizer=optax.sgd(0.1), num_steps=1) for s in (1.0, 2.0)]


def task(labels=False):
    y = lambda n: jnp.arange(n) % 2 if labels else jnp.asarray(rng.normal(size=(n, 2)))
    batch = lambda n: Batch(jnp.asarray(rng.normal(size=(n, 3))), y(n), ways=jnp.ones(2, bool) if labels else None)
    return Task(batch(4), batch(7))


def outputs_of(learners, metas, one):
    pairs = zip(learners, metas, strict=True)
    return np.stack([m.predict(v, m.adapt(v, one.support), one.query.x) for m, v in pairs])


def test_at_the_start_it_is_the_mean():
    one, learners = task(labels=True), members(jm.losses.cross_entropy)
    learner = jm.stacking(learners)
    meta = learner.init(jax.random.key(0), one)
    metas = [Variables(*pair) for pair in zip(meta.params["members"], meta.state, strict=True)]
    found = learner.predict(meta, learner.adapt(meta, one.support), one.query.x)
    np.testing.assert_allclose(found, outputs_of(learners, metas, one).mean(0), rtol=1e-6)


def test_least_squares_weights_are_stationary():
    """Frozen members and squared error: the optimal weights are those of numpy.linalg.lstsq."""
    one, learners = task(), members(jm.losses.mse)
    metas = [learner.init(jax.random.key(i), one) for i, learner in enumerate(learners)]
    learner = jm.stacking(learners, jm.losses.mse, metas=metas)
    meta = learner.init(jax.random.key(9), one)
    assert list(meta.params) == ["weight"]
    columns = outputs_of(learners, metas, one).reshape(2, -1).T
    best = np.linalg.lstsq(columns, np.asarray(one.query.y).ravel(), rcond=None)[0]
    loss = lambda weight: learner.loss(meta._replace(params={"weight": weight}), one)[0]
    value, grads = jax.value_and_grad(loss)(jnp.asarray(best))
    np.testing.assert_allclose(value, np.mean((columns @ best - np.asarray(one.query.y).ravel()) ** 2), rtol=1e-10)
    np.testing.assert_allclose(grads, 0, atol=1e-12)
    assert float(jnp.abs(jax.grad(loss)(jnp.full(2, 0.5))).max()) > 1e-3


def test_members_train_as_if_alone():
    one, learners, key = task(labels=True), members(jm.losses.cross_entropy), jax.random.key(4)
    learner = jm.stacking(learners)
    meta = learner.init(jax.random.key(0), one)
    loss = lambda params: learner.loss(meta._replace(params=params), one, key)[0]
    grads = jax.grad(loss)(meta.params)
    for i, member in enumerate(learners):
        alone = jax.grad(lambda params, member=member: member.loss(Variables(params), one, None)[0])
        np.testing.assert_allclose(grads["members"][i], alone(meta.params["members"][i]), rtol=1e-10)
    assert float(jnp.abs(grads["weight"]).max()) > 0


def test_an_absent_way_stays_absent_whatever_the_weights():
    one, ways = task(labels=True), jnp.array([True, False])
    one = Task(*(batch._replace(ways=ways, y=0 * batch.y) for batch in one))
    learner = jm.stacking(members(jm.losses.cross_entropy))
    meta = learner.init(jax.random.key(0), one)
    meta.params["weight"] = jnp.array([7.0, -3.0])
    found = learner.predict(meta, learner.adapt(meta, one.support), one.query.x)
    assert (found[:, 1] == jnp.finfo(found.dtype).min).all() and bool(jnp.isfinite(found).all())


def test_errors():
    with pytest.raises(ValueError, match="`learners` .* got 0"):
        jm.stacking([])
    with pytest.raises(ValueError, match="got 2 and 1"):
        jm.stacking(members(jm.losses.mse), metas=[Variables(())])
    one = task()
    wide = jm.from_functions(lambda key, x: jnp.zeros((3, 5)), lambda v, x: x @ v.params)
    learner = jm.stacking([members(jm.losses.mse)[0], jm.maml(wide, jm.losses.mse, num_steps=0)], jm.losses.mse)
    meta = learner.init(jax.random.key(0), one)
    with pytest.raises(ValueError, match="outputs of one shape"):
        learner.predict(meta, learner.adapt(meta, one.support), one.query.x)
