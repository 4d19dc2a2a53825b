"""Bagging: equal members are one member, members train as if alone, averages are never worse than the mean member."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import KINDS, stack

import jaxmeta as jm
from jaxmeta import Variables
from jaxmeta.algorithms._bagging import draw_times
from jaxmeta.algorithms._members import average

S = 3
MODEL = jm.from_functions(lambda key, x: jax.random.normal(key, (4, 3)), lambda v, x: x @ v.params)
MEMBER = jm.maml(MODEL, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.1), num_steps=1)
SAMPLER = KINDS["classification"].sampler


@pytest.mark.parametrize("how", ["outputs", "probabilities"])
def test_equal_members_are_one_member(how):
    task = SAMPLER(jax.random.key(0))
    learner = jm.bagging(MEMBER, num_members=S, average_of=how)
    meta = MEMBER.init(jax.random.key(1), task)
    equal = jax.tree.map(lambda a: jnp.stack([a] * S), meta)
    alone, together = (
        jax.jit(lambda m, who=who: who.predict(m, who.adapt(m, task.support), task.query.x))(m)
        for who, m in ((MEMBER, meta), (learner, equal))
    )
    if how == "outputs":
        np.testing.assert_allclose(together, alone, rtol=1e-5)
    else:
        np.testing.assert_allclose(together, jax.nn.log_softmax(alone), atol=1e-6)


def test_average():
    """Exact for equal members, finite where a way is absent, and the mean otherwise."""
    outputs = jnp.array([[0.1, jnp.finfo(jnp.float32).min]] * S)
    np.testing.assert_array_equal(average(outputs, "outputs"), outputs[0])
    assert bool(jnp.isfinite(average(outputs, "probabilities")).all())
    values = np.random.default_rng(0).normal(size=(S, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(average(jnp.asarray(values), "outputs"), values.mean(0), atol=1e-6)
    softmax = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
    found = average(jnp.asarray(values), "probabilities")
    np.testing.assert_allclose(found, np.log(softmax.mean(0)), atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_members_train_as_if_alone_and_together_are_no_worse():
    """One step of SGD on the sum is one step of each; the loss of the mean is at most the mean of the losses."""
    key, sgd = jax.random.key(2), optax.sgd(0.3)
    learner, tasks = jm.bagging(MEMBER, num_members=S), stack(SAMPLER, 4)
    state = jm.init(learner, SAMPLER, sgd, key=key)
    new, metrics = jax.jit(jm.meta_step(learner, sgd))(state, tasks)
    mean_loss = lambda params: jax.vmap(MEMBER.loss, (None, 0, None))(Variables(params), tasks, key)[0].mean()
    losses, grads = jax.jit(jax.vmap(jax.value_and_grad(mean_loss)))(state.meta.params)
    np.testing.assert_allclose(new.meta.params, state.meta.params - 0.3 * grads, rtol=1e-10)
    np.testing.assert_allclose(metrics["loss"], losses.mean(), rtol=1e-10)
    for how in ("outputs", "probabilities"):
        error = partial(_ensemble_loss, jm.bagging(MEMBER, num_members=S, average_of=how), state.meta)
        assert float(jax.jit(jax.vmap(error))(tasks).mean()) < float(losses.mean())


def _ensemble_loss(learner, meta, task):
    outputs = learner.predict(meta, learner.adapt(meta, task.support), task.query.x)
    return jm.losses.cross_entropy(outputs, task.query.y)


def test_trained_seeds_are_an_ensemble():
    """The states of S seeds have the layout of S members."""
    keys = jax.random.split(jax.random.key(0), S)
    states = jm.init(MEMBER, SAMPLER, optax.sgd(0.1), key=keys)
    learner = jm.bagging(MEMBER, num_members=S)
    shape = jax.tree.map(jnp.shape, jm.init(learner, SAMPLER, optax.sgd(0.1), key=keys[0]).meta)
    assert shape == jax.tree.map(jnp.shape, states.meta)


def test_a_bootstrap_draws_poisson_times():
    """Mean and variance 1, P(0) = 1 / e, within 4 standard errors; and the loss is the weighted sum."""
    times = np.asarray(draw_times(jax.random.key(0), 40_000))
    np.testing.assert_allclose([times.mean(), times.var(), (times == 0).mean()], [1, 1, np.exp(-1)], atol=0.035)
    learner, task, key = (
        jm.bagging(MEMBER, num_members=S, bootstrap=True),
        SAMPLER(jax.random.key(0)),
        jax.random.key(5),
    )
    meta = learner.init(jax.random.key(1), task)
    k_times, k_members = jax.random.split(key)
    loss = jax.jit(MEMBER.loss)
    each = [loss(Variables(meta.params[s]), task, k)[0] for s, k in enumerate(jax.random.split(k_members, S))]
    found = jax.jit(learner.loss)(meta, task, key)[0]
    np.testing.assert_allclose(found, np.dot(draw_times(k_times, S), each), rtol=1e-5)


@pytest.mark.parametrize("options, text", [({"num_members": 0}, "got 0"), ({"average_of": "votes"}, "got 'votes'")])
def test_errors(options, text):
    with pytest.raises(ValueError, match=text):
        jm.bagging(MEMBER, **options)
