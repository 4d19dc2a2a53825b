"""Adversarial querying on a linear model, where the worst query and the gradient there are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
RADIUS = 0.2
rng = np.random.default_rng(0)


def setup():
    """Logistic regression with logits (0, x w) and no adaptation."""
    w, x, y = rng.normal(size=3), rng.normal(size=(8, 3)), np.arange(8) % 2
    model = jm.from_functions(
        lambda key, x: None, lambda v, x: jnp.stack([jnp.zeros(len(x), x.dtype), x @ v.params], 1)
    )
    batch = Batch(jnp.asarray(x), jnp.asarray(y))
    return jm.maml(model, jm.losses.cross_entropy, num_steps=0), w, x, y, Task(batch, batch)


def gradient(learner, w, task):
    return jax.grad(lambda w: learner.loss(Variables(w), task, jax.random.key(0))[0])(jnp.asarray(w))


def logistic_gradient(w, x, y):
    return ((1 / (1 + np.exp(-x @ w)) - y)[:, None] * x).mean(0)


def test_the_meta_gradient_is_that_of_the_worst_query():
    plain, w, x, y, task = setup()
    learner = jm.adversarial(plain, attack=jm.attacks.pgd(radius=RADIUS, num_steps=5))
    worst = x + RADIUS * np.where(y == 0, 1, -1)[:, None] * np.sign(w)[None]
    np.testing.assert_allclose(gradient(learner, w, task), logistic_gradient(w, worst, y), rtol=1e-10)
    half = jm.adversarial(plain, attack=jm.attacks.pgd(radius=RADIUS, num_steps=5), clean_weight=0.5)
    expected = (logistic_gradient(w, worst, y) + logistic_gradient(w, x, y)) / 2
    np.testing.assert_allclose(gradient(half, w, task), expected, rtol=1e-10)


def test_without_a_radius_it_is_its_learner():
    plain, w, _, _, task = setup()
    learner = jm.adversarial(plain, attack=jm.attacks.pgd(radius=0.0))
    np.testing.assert_array_equal(gradient(learner, w, task), gradient(plain, w, task))
    assert learner.adapt is plain.adapt and learner.predict is plain.predict
