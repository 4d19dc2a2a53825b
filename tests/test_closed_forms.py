"""Meta-gradients against closed forms on the quadratic family L(p) = |p - c|^2 / 2, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

RATE, STEPS = 0.3, 4
pytestmark = pytest.mark.usefixtures("x64")


def quadratic(outputs, targets):
    return 0.5 * jnp.sum((outputs - targets) ** 2)


def setup():
    theta, c = jnp.array([1.0, -2.0, 0.5], jnp.float64), jnp.array([0.3, 0.7, -1.1], jnp.float64)
    model = jm.from_functions(lambda key, x: theta, lambda variables, x: variables.params[None] + 0 * x)
    batch = Batch(jnp.zeros((1, 3)), c[None])
    return model, theta, c, Task(batch, batch)


def meta_gradient(learner, params, task):
    return jax.grad(lambda params: learner.loss(Variables(params), task, jax.random.key(0))[0])(params)


SGD = partial(jm.maml, inner_optimizer=optax.sgd(RATE), num_steps=STEPS)


@pytest.mark.parametrize(
    "make, factor",
    [
        (SGD, (1 - RATE) ** (2 * STEPS)),
        (partial(SGD, gradient="reverse"), (1 - RATE) ** (2 * STEPS)),
        (partial(SGD, remat=2), (1 - RATE) ** (2 * STEPS)),
        (partial(SGD, remat=3), (1 - RATE) ** (2 * STEPS)),
        (partial(SGD, truncate=3, remat=2), (1 - RATE) ** (STEPS + 3)),
        (partial(SGD, truncate=0), (1 - RATE) ** STEPS),
        (partial(SGD, truncate=9), (1 - RATE) ** (2 * STEPS)),
        (partial(SGD, num_steps=0), 1.0),
        (partial(SGD, num_steps=1), (1 - RATE) ** 2),
        (partial(SGD, first_order=True), (1 - RATE) ** STEPS),
        (partial(jm.reptile, inner_optimizer=optax.sgd(RATE), num_steps=STEPS), 1 - (1 - RATE) ** STEPS),
    ],
    ids=["maml", "reverse", "remat", "remat with a rest", "truncated", "truncated whole", "truncated nowhere"]
    + ["no steps", "one step", "fomaml", "reptile"],
)
def test_meta_gradient(make, factor):
    model, theta, c, task = setup()
    np.testing.assert_allclose(meta_gradient(make(model, quadratic), theta, task), factor * (theta - c), rtol=1e-12)


def test_meta_sgd_learns_its_rates():
    """After one step d/da = -(1 - a)(theta - c)^2 and d/dtheta = (1 - a)^2 (theta - c), entry by entry."""
    model, theta, c, task = setup()
    rates = jnp.array([0.1, 0.2, 0.4], jnp.float64)
    grads = meta_gradient(jm.meta_sgd(model, quadratic, num_steps=1), {"model": theta, "lr": rates}, task)
    np.testing.assert_allclose(grads["lr"], -(1 - rates) * (theta - c) ** 2, rtol=1e-12)
    np.testing.assert_allclose(grads["model"], (1 - rates) ** 2 * (theta - c), rtol=1e-12)


def test_first_order_keeps_the_gradient_of_the_rates():
    """Stopping inner gradients, not parameters: d/da survives with the gradient as a constant."""
    model, theta, c, task = setup()
    rates = jnp.full(3, 0.2, jnp.float64)
    learner = jm.meta_sgd(model, quadratic, num_steps=1, gradient="first_order")
    grads = meta_gradient(learner, {"model": theta, "lr": rates}, task)
    np.testing.assert_allclose(grads["lr"], -(1 - rates) * (theta - c) ** 2, rtol=1e-12)
    np.testing.assert_allclose(grads["model"], (1 - rates) * (theta - c), rtol=1e-12)


def test_prototypes_by_hand():
    learner = jm.protonet(jm.from_functions(lambda key, x: (), lambda variables, x: x), num_ways=2)
    support = Batch(jnp.array([[0.0, 0.0], [2.0, 0.0], [5.0, 1.0]]), jnp.array([0, 0, 1]))
    adapted = learner.adapt(Variables(()), support)
    np.testing.assert_array_equal(adapted.means, [[1.0, 0.0], [5.0, 1.0]])
    outputs = learner.predict(Variables(()), adapted, jnp.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(outputs, [[-4.0, -17.0]])


def test_cosine_by_hand():
    learner = jm.protonet(
        jm.from_functions(lambda key, x: (), lambda variables, x: x), distance="cosine", scale=1.0, num_ways=2
    )
    support = Batch(jnp.array([[2.0, 0.0], [0.0, 3.0]]), jnp.array([0, 1]))
    outputs = learner.predict(Variables(()), learner.adapt(Variables(()), support), jnp.array([[3.0, 4.0]]))
    np.testing.assert_allclose(outputs, [[0.6, 0.8]], rtol=1e-12)


def test_sharpness_aware_outer_steps():
    """Two meta-steps under SAM are one: up to theta + rho g / |g|, and from theta against the gradient there."""
    model, theta, c, task = setup()
    learner = SGD(model, quadratic)
    sam = optax.contrib.sam(optax.sgd(0.5), optax.chain(optax.contrib.normalize(), optax.sgd(0.1)), sync_period=2)
    state = jm.init(learner, task, sam, key=jax.random.key(0))
    step = jax.jit(jm.meta_step(learner, sam))
    tasks = jax.tree.map(lambda a: a[None], task)
    for _ in range(2):
        state, _ = step(state, tasks)
    factor, gap = (1 - RATE) ** (2 * STEPS), theta - c
    up = theta + 0.1 * gap / jnp.linalg.norm(gap)
    np.testing.assert_allclose(state.meta.params, theta - 0.5 * factor * (up - c), rtol=1e-12)
