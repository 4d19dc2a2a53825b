"""iMAML: the closed form on a quadratic, finite differences of the true minimum, residuals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables
from jaxmeta.implicit import conjugate_gradient, proximal

X, Y = np.random.default_rng(0).normal(size=(2, 6, 3)), np.array([0, 1, 2, 0, 1, 2])


def half_square(outputs, targets):
    return 0.5 * jnp.sum((outputs - targets) ** 2)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.3), optax.adam(0.05)], ids=["sgd", "adam"])
@pytest.mark.usefixtures("x64")
def test_closed_form_on_a_quadratic(optimizer):
    """(s / (1 + s))^2 (theta - c), and the inner solution (c + s theta) / (1 + s), whatever optimizer finds it."""
    s, theta, c = 2.0, jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 0.7, -1.1])
    model = jm.from_functions(lambda key, x: theta, lambda variables, x: variables.params[None] + 0 * x)
    learner = jm.imaml(model, half_square, inner_optimizer=optimizer, num_steps=1500, strength=s)
    batch = Batch(jnp.zeros((1, 3)), c[None])
    grad = jax.jit(jax.value_and_grad(lambda p: learner.loss(Variables(p), Task(batch, batch), None), has_aux=True))
    (value, aux), grads = grad(theta)
    np.testing.assert_allclose(grads, (s / (1 + s)) ** 2 * (theta - c), rtol=1e-12)
    np.testing.assert_allclose(value, 0.5 * jnp.sum((s / (1 + s) * (theta - c)) ** 2), rtol=1e-12)
    assert aux.metrics["prox/residual"] < 1e-12 and aux.metrics["cg/residual"] < 1e-12
    through_adapt = jax.grad(lambda p: half_square(learner.adapt(Variables(p), batch).params, c))
    np.testing.assert_allclose(through_adapt(theta), (s / (1 + s)) ** 2 * (theta - c), rtol=1e-12)


def network(**options):
    def apply(variables, x):
        return jnp.tanh(x @ variables.params["body"]) @ variables.params["head"]

    draw = lambda k, *shape: jnp.asarray(0.7 * np.random.default_rng(k).normal(size=shape))
    params = {"body": draw(1, 3, 4), "head": draw(2, 4, 3)}
    options = {"inner_optimizer": optax.sgd(0.5), "num_steps": 200, "strength": 0.8, "cg_steps": 30} | options
    learner = jm.imaml(jm.from_functions(lambda key, x: params, apply), jm.losses.cross_entropy, **options)
    batch = lambda k: Batch(jnp.asarray(X[k]), jnp.asarray(Y), ways=jnp.ones(3, bool))
    return learner, params, Task(batch(0), batch(1))


@pytest.mark.parametrize("adapt_only", [None, lambda path: path == "head"], ids=["all", "head"])
@pytest.mark.usefixtures("x64")
def test_gradient_is_that_of_the_minimum(adapt_only):
    """Finite differences of the solved problem, for adapted and frozen parameters; `loss` and `adapt` agree."""
    learner, params, task = network(adapt_only=adapt_only)
    loss = lambda p: learner.loss(Variables(p), task, None)[0]

    def through_adapt(p):
        adapted = learner.adapt(Variables(p), task.support)
        return jm.losses.cross_entropy(learner.predict(Variables(p), adapted, task.query.x), task.query.y)

    direction = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), params)
    moved = lambda step: jax.tree.map(lambda a, d: a + step * d, params, direction)
    value = jax.jit(loss)
    grads, others = jax.jit(lambda p: (jax.grad(loss)(p), jax.grad(through_adapt)(p)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), grads, others)
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), grads, direction)))
    np.testing.assert_allclose(slope, (value(moved(1e-5)) - value(moved(-1e-5))) / 2e-5, rtol=1e-7)


@pytest.mark.usefixtures("x64")
def test_residuals_tell_how_exact_the_gradient_is():
    metrics = []
    for options in ({}, {"num_steps": 3}, {"cg_steps": 1}):
        learner, params, task = network(**options)
        metrics.append(
            jax.jit(lambda p, learner=learner, task=task: learner.loss(Variables(p), task, None)[1].metrics)(params)
        )
    exact, early, rough = metrics
    assert exact["prox/residual"] < 1e-10 and exact["cg/residual"] < 1e-10
    assert early["prox/residual"] > 1e-3 and rough["cg/residual"] > 1e-3


@pytest.mark.usefixtures("x64")
def test_conjugate_gradient():
    """Solution, residual and both modes of its derivative, on a pytree, beside a dense solve."""
    a = np.random.default_rng(4).normal(size=(5, 5))
    matrix, b = jnp.asarray(a @ a.T + np.eye(5)), jnp.arange(1.0, 6.0)
    split = lambda v: {"p": v[:2], "q": v[2:]}
    join = lambda tree: jnp.concatenate([tree["p"], tree["q"]])
    solve = lambda matrix, b: join(conjugate_gradient(lambda v: split(matrix @ join(v)), split(b), 20)[0])
    np.testing.assert_allclose(solve(matrix, b), jnp.linalg.solve(matrix, b), rtol=1e-10)
    scalar = lambda f: lambda m, b: jnp.sum(jnp.sin(f((m + m.T) / 2, b)))
    ours = scalar(solve)
    reverse, forward = jax.jit(lambda m, b: (jax.grad(ours, (0, 1))(m, b), jax.jacfwd(ours, (0, 1))(m, b)))(matrix, b)
    dense = jax.grad(scalar(jnp.linalg.solve), (0, 1))(matrix, b)
    for derivative in (reverse, forward):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-12), derivative, dense)
    x, residual = conjugate_gradient(lambda v: matrix @ v, b, 2)
    np.testing.assert_allclose(residual, np.linalg.norm(matrix @ x - b) / np.linalg.norm(b), rtol=1e-12)
    zero, none = conjugate_gradient(lambda v: matrix @ v, 0 * b, 3)
    assert not zero.any() and none == 0


@pytest.mark.usefixtures("x64")
def test_proximal_derivative_in_what_the_loss_closes_over():
    """The minimum of a^2/2 (p - 3)^2 + (p - c)^2 is (3 a^2 + 2 c) / (a^2 + 2)."""
    solve = lambda a, c: proximal(lambda p: a**2 / 2 * (p - 3) ** 2, c, optax.sgd(0.2), 200, strength=2.0, cg_steps=3)
    exact = lambda a, c: (3 * a**2 + 2 * c) / (a**2 + 2)
    np.testing.assert_allclose(solve(1.5, jnp.array(0.5)), exact(1.5, 0.5), rtol=1e-12)
    ours, theirs = (jax.grad(f, (0, 1))(jnp.array(1.5), jnp.array(0.5)) for f in (solve, exact))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize(
    "options, message",
    [({"strength": 0.0}, "`strength`"), ({"cg_steps": 0}, "`cg_steps`"), ({"num_steps": -1}, "`num_steps`")],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        jm.imaml(jm.from_functions(lambda key, x: (), lambda variables, x: x), half_square, **options)
