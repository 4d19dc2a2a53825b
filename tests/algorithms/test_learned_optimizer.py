"""Learned optimizers: closed forms on quadratics, rules against NumPy, and better than SGD with the best rate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy_layers import dense, log_and_sign, lstm

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

START = lambda key, x: jax.random.normal(key, (x.shape[-1], 1))
LINEAR = jm.from_functions(START, lambda variables, x: x @ variables.params)


@pytest.mark.usefixtures("x64")
def test_the_loss_is_the_mean_over_the_path():
    """On |p|^2 / 2 with rate a: p_t = (1 - a)^t p_0, and the derivative in a is exact."""
    model = jm.from_functions(
        lambda key, x: jnp.array([1.0, -2.0]), lambda variables, x: variables.params[None] + 0 * x
    )
    batch = Batch(jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    half_square = lambda outputs, targets: 0.5 * jnp.sum((outputs - targets) ** 2)
    rule = jm.update_rules.tuned(lambda p: optax.sgd(p["lr"]), {"lr": 0.3})
    learner = jm.learned_optimizer(model, half_square, rule=rule, num_steps=4)
    loss = lambda lr: learner.loss(Variables({"lr": lr}), Task(batch, batch), jax.random.key(0))[0]
    value, grad = jax.value_and_grad(loss)(jnp.asarray(0.3))
    t = np.arange(1, 5)
    np.testing.assert_allclose(value, np.mean(2.5 * 0.7 ** (2 * t)), rtol=1e-12)
    np.testing.assert_allclose(grad, np.mean(-2.5 * 2 * t * 0.7 ** (2 * t - 1)), rtol=1e-12)


def run(optimizer, matrix, target, params, steps):
    """An ordinary optax loop."""
    grad = jax.grad(lambda p: jnp.mean((matrix @ p - target) ** 2))
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(grad(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_an_untrained_mlp_is_sgd_and_a_rule_is_an_optax_optimizer():
    task, key, rule = (
        jm.tasks.quadratics(num_dims=3)(jax.random.key(0)),
        jax.random.key(1),
        jm.update_rules.mlp(init_lr=0.05),
    )
    learner = jm.learned_optimizer(LINEAR, jm.losses.mse, rule=rule, num_steps=5)
    meta, start = learner.init(key, task), START(jax.random.split(key)[0], task.support.x)
    by_sgd = run(optax.sgd(0.05), *task.support[:2], start, 5)
    np.testing.assert_allclose(learner.adapt(meta, task.support, key).params, by_sgd, rtol=1e-5)
    trained = jax.tree.map(lambda a: a + 0.02, meta.params)
    with_optax = run(rule.transform(trained), *task.support[:2], start, 5)
    adapted = learner.adapt(Variables(trained), task.support, key)
    np.testing.assert_allclose(adapted.params, with_optax, rtol=1e-4)
    assert np.abs(with_optax - by_sgd).max() > 1e-3


@pytest.mark.usefixtures("x64")
def test_lstm_rule_in_numpy():
    rule, params = jm.update_rules.lstm(hidden=(4, 3), scale=0.5), {"a": jnp.ones(2), "b": jnp.zeros((1, 1))}
    learned = jax.tree.map(lambda a: 3 * a.astype(jnp.float64), rule.init(jax.random.key(0), params))
    optimizer = rule.transform(learned)
    state, (h0, c0), (h1, c1) = optimizer.init(params), np.zeros((2, 3, 4)), np.zeros((2, 3, 3))
    for g in (np.array([0.5, -2.0, 1e-6]), np.array([0.1, 3.0, 0.0])):
        updates, state = optimizer.update({"a": jnp.asarray(g[:2]), "b": jnp.asarray(g[2:, None])}, state, params)
        h0, c0 = lstm(learned["lstm0"], h0, c0, log_and_sign(g))
        h1, c1 = lstm(learned["lstm1"], h1, c1, h0)
        expected = 0.5 * dense(learned["out"], h1)[:, 0]
        np.testing.assert_allclose(np.append(updates["a"], updates["b"]), expected, rtol=1e-10)


@pytest.mark.slow
def test_trained_on_quadratics_beats_sgd_with_the_best_rate_for_them():
    """Twenty steps from random starts on 256 held-out problems; the rate of SGD is chosen on these very problems."""
    problems, held_out = jm.tasks.quadratics(), jax.random.key(7)
    make = lambda rule: jm.learned_optimizer(LINEAR, jm.losses.mse, rule=rule, num_steps=20)
    error = lambda learner, params: jm.evaluate(learner, Variables(params), problems, num_tasks=256, key=held_out)[
        "mse"
    ]
    sgd = make(jm.update_rules.tuned(lambda lr: optax.sgd(lr), 0.1))
    best = min((error(sgd, jnp.float32(lr)) for lr in np.geomspace(0.01, 0.5, 24)), key=lambda e: e.mean)
    learner = make(jm.update_rules.mlp(hidden=(16,), init_lr=0.05))
    outer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
    state = jm.init(learner, problems, outer, key=jax.random.key(0))
    state, _ = jm.fit(learner, problems, outer, state, num_steps=400, tasks_per_step=16)
    ours = error(learner, state.meta.params)
    assert ours.mean + ours.ci95 < best.mean - best.ci95


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got 0"):
        jm.learned_optimizer(LINEAR, jm.losses.mse, num_steps=0)
    with pytest.raises(ValueError, match="`decays` and `square_decay` must be in"):
        jm.update_rules.mlp(decays=(1.0,))
    with pytest.raises(ValueError, match="`init_lr` must be a positive number, got -1"):
        jm.update_rules.schedule(3, init_lr=-1)
    with pytest.raises(ValueError, match="`scale` .* got 0"):
        jm.tasks.quadratics(scale=0)
