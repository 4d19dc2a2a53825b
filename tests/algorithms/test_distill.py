"""Distillation: its soft loss against NumPy, no gradient where student and teacher agree, the teacher frozen."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables
from jaxmeta.algorithms._distill import soft_loss

pytestmark = pytest.mark.usefixtures("x64")
linear = lambda: jm.from_functions(lambda key, x: jax.random.normal(key, (3, 2)), lambda v, x: x @ v.params)
maml = partial(jm.maml, loss_fn=jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.3), num_steps=1)
rng = np.random.default_rng(0)


def task():
    batch = lambda n: Batch(jnp.asarray(rng.normal(size=(n, 3))), jnp.arange(n) % 2, ways=jnp.ones(2, bool))
    return Task(batch(4), batch(6))


def test_soft_loss_and_its_gradient_by_numpy():
    """tau^2 KL of softened logits; its gradient is tau (q - p) w / sum(w)."""
    outputs, targets, tau = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), 3.0
    weight = np.array([1.0, 2.0, 0.0, 1.0])
    query = Batch(None, jnp.zeros(4, int), jnp.asarray(weight))
    soften = lambda o: np.exp(o / tau) / np.exp(o / tau).sum(-1, keepdims=True)
    q, p = soften(outputs), soften(targets)
    expected = tau**2 * (weight * (p * np.log(p / q)).sum(-1)).sum() / 4
    value, grads = jax.value_and_grad(soft_loss)(jnp.asarray(outputs), jnp.asarray(targets), query, tau)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(grads, tau * (q - p) * weight[:, None] / 4, atol=1e-14)


@pytest.mark.parametrize("tau", [0.5, 4.0])
def test_an_absent_way_counts_for_nothing(tau):
    low = jnp.finfo(jnp.float64).min
    two, three = jnp.array([[1.0, -1.0]]), jnp.array([[1.0, -1.0, low]])
    query = Batch(None, jnp.zeros(1, int))
    value, grads = jax.value_and_grad(soft_loss)(three, three[:, jnp.array([1, 0, 2])], query, tau)
    np.testing.assert_allclose(value, soft_loss(two, two[:, ::-1], query, tau), rtol=1e-12)
    assert bool(jnp.isfinite(grads).all()) and grads[0, 2] == 0


def test_a_student_that_is_its_teacher_has_no_soft_gradient():
    student, params = maml(linear()), jnp.asarray(rng.normal(size=(3, 2)))
    learner = jm.distill(student, student, Variables(params), soft_weight=1.0)
    meta = learner.init(jax.random.key(0), task())._replace(params=params)
    loss = lambda params, task: learner.loss(meta._replace(params=params), task, jax.random.key(1))
    grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, aux), grads = grad(params, task())
    np.testing.assert_allclose(value, 0, atol=1e-14)
    np.testing.assert_allclose(grads, 0, atol=1e-13)
    assert aux.metrics["distillation"] == value
    _, other = grad(params + 0.1 * meta.params[:, ::-1], task())
    assert float(jnp.abs(other).max()) > 1e-3


def test_the_two_terms_and_the_frozen_teacher():
    """(1 - a) label loss + a soft loss; an ensemble teaches; a step leaves the teacher as it was, bit for bit."""
    student, teacher, one = maml(linear()), jm.bagging(maml(linear(), num_steps=2), num_members=2), task()
    taught = teacher.init(jax.random.key(3), one)
    learner = jm.distill(student, teacher, taught, soft_weight=0.25, temperature=2.0)
    meta, key = learner.init(jax.random.key(0), one), jax.random.key(1)
    own = Variables(meta.params, meta.state.student)
    outputs, targets, again = (
        jax.jit(lambda m, who=who: who.predict(m, who.adapt(m, one.support), one.query.x))(m)
        for who, m in ((student, own), (teacher, taught), (learner, meta))
    )
    np.testing.assert_array_equal(again, outputs)
    labels, found = (jax.jit(who.loss)(m, one, key)[0] for who, m in ((student, own), (learner, meta)))
    expected = 0.75 * labels + 0.25 * soft_loss(outputs, targets, one.query, 2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    state = jm.init(learner, one, optax.adam(0.1), key=key)
    new, _ = jax.jit(jm.meta_step(learner, optax.adam(0.1)))(state, jax.tree.map(lambda a: a[None], one))
    jax.tree.map(np.testing.assert_array_equal, new.meta.state.teacher, taught)
    assert float(jnp.abs(new.meta.params - state.meta.params).min()) > 0


def test_regression_matches_the_predictions():
    query = Batch(None, jnp.zeros((2, 1)), jnp.array([1.0, 0.0]))
    assert soft_loss(jnp.array([[3.0], [9.0]]), jnp.ones((2, 1)), query, 5.0) == 4.0


@pytest.mark.parametrize("options, text", [({"temperature": 0}, "`temperature` .* 0"), ({"soft_weight": 2}, "got 2")])
def test_errors(options, text):
    with pytest.raises(ValueError, match=text):
        jm.distill(maml(linear()), maml(linear()), Variables(()), **options)
