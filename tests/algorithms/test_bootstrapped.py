"""Bootstrapped meta-gradients: MAML's for one target step, closed forms for more, and the divergence by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
RATE, STEPS = 0.3, 4
KEY = jax.random.key(0)


def quadratic(outputs, targets):
    return 0.5 * jnp.sum((outputs - targets) ** 2)


@pytest.mark.parametrize("more", [1, 5])
def test_meta_gradient(more):
    """|p - c|^2 / 2: the target is c + (1 - a)^L (phi - c); the gradient is (1 - (1 - a)^L) (1 - a)^2K (theta - c)."""
    theta, c = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 0.7, -1.1])
    model = jm.from_functions(lambda key, x: theta, lambda v, x: v.params[None] + 0 * x)
    batch = Batch(jnp.zeros((1, 3)), c[None])
    learner = jm.bootstrapped(model, quadratic, inner_optimizer=optax.sgd(RATE), num_steps=STEPS, num_target_steps=more)
    value, grads = jax.value_and_grad(lambda p: learner.loss(Variables(p), Task(batch, batch), KEY)[0])(theta)
    reach, gap = 1 - (1 - RATE) ** more, (1 - RATE) ** STEPS * (theta - c)
    np.testing.assert_allclose(value, 0.5 * ((reach * gap) ** 2).sum(), rtol=1e-12)
    np.testing.assert_allclose(grads, reach * (1 - RATE) ** STEPS * gap, rtol=1e-12)


def setup():
    net = jm.from_linen(jm.backbones.MLP((5,), num_outputs=3))
    x = jax.random.normal(jax.random.key(1), (12, 4))
    batch = lambda rows: Batch(x[rows], jnp.array([0, 1, 2, 0, 1, 2]), ways=jnp.ones(3, bool))
    task = Task(batch(slice(0, 6)), batch(slice(6, 12)))
    params = jax.tree.map(lambda a: a.astype(float), net.init(KEY, x).params)
    return net, task, params


def test_one_target_step_is_a_scaled_maml():
    net, task, params = setup()
    options = {"inner_optimizer": optax.sgd(RATE), "num_steps": 2}
    grad = lambda learner: jax.grad(lambda p: learner.loss(Variables(p), task, KEY)[0])(params)
    found = grad(jm.bootstrapped(net, jm.losses.cross_entropy, num_target_steps=1, **options))
    wanted = grad(jm.maml(net, jm.losses.cross_entropy, **options))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, RATE * b, rtol=1e-9, atol=1e-12), found, wanted)


def test_divergence_of_predictions():
    """The target's probabilities, held fixed, against those after adaptation, in NumPy."""
    net, task, params = setup()
    options = {"inner_optimizer": optax.sgd(RATE)}
    learner = jm.bootstrapped(net, jm.losses.cross_entropy, num_steps=2, num_target_steps=3, distance="kl", **options)
    maml = lambda k: jm.maml(net, jm.losses.cross_entropy, num_steps=k, **options)
    adapted = maml(2).adapt(Variables(params), task.support).params
    target = maml(3).adapt(Variables(adapted), task.query).params
    p, q = (np.asarray(jax.nn.softmax(net.apply(Variables(v), task.query.x)[0])) for v in (target, adapted))
    value, aux = learner.loss(Variables(params), task, KEY)
    np.testing.assert_allclose(value, (p * np.log(p / q)).sum(1).mean(), rtol=1e-9)
    assert aux.metrics["target/distance"] == value != aux.metrics["loss"]


def test_bad_arguments():
    net = setup()[0]
    with pytest.raises(ValueError, match="`num_target_steps` must be >= 1, got 0"):
        jm.bootstrapped(net, jm.losses.cross_entropy, num_target_steps=0)
    with pytest.raises(ValueError, match="`distance` must be 'parameters' or 'kl', got 'l2'"):
        jm.bootstrapped(net, jm.losses.cross_entropy, distance="l2")
