"""The LSTM meta-learner: fixed gates give closed forms, random gates agree with NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import dense, log_and_sign, lstm, sigmoid

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
C0, TARGET, STEPS = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.7, -1.1]), 3


def setup(**options):
    """L(p) = |p - c|^2 / 2, in float64."""
    model = jm.from_functions(lambda key, x: jnp.asarray(C0), lambda variables, x: variables.params[None] + 0 * x)
    batch = Batch(jnp.zeros((1, 3)), jnp.asarray(TARGET)[None])
    task = Task(batch, batch)
    half_square = lambda outputs, targets: 0.5 * jnp.sum((outputs - targets) ** 2)
    learner = jm.lstm(model, half_square, num_steps=STEPS, hidden=4, **options)
    meta = learner.init(jax.random.key(0), task)
    return learner, jax.tree.map(lambda a: a.astype(jnp.float64), meta), task


@pytest.mark.parametrize("keep, first_order", [(1 - 1e-15, True), (0.9, True), (1 - 1e-15, False)])
def test_fixed_gates(keep, first_order):
    """c <- f c - i (c - t) is linear; with constant gradients d c_K / d c_0 = f^K, else (f - i)^K."""
    learner, meta, task = setup(init_lr=0.3, init_decay=1 - keep, first_order=first_order)
    gates = meta.params["gates"]
    for name, value in (("write", 0.3), ("forget", keep)):
        gates[name] = {"kernel": 0 * gates[name]["kernel"], "bias": jnp.full(1, np.log(value / (1 - value)))}
    expected = C0
    for _ in range(STEPS):
        expected = keep * expected - 0.3 * (expected - TARGET)
    loss = lambda c0: learner.loss(Variables({"model": c0, "gates": gates}), task, None)[0]
    value, grad = jax.value_and_grad(loss)(meta.params["model"])
    np.testing.assert_allclose(value, 0.5 * np.sum((expected - TARGET) ** 2), rtol=1e-10)
    slope = keep**STEPS if first_order else (keep - 0.3) ** STEPS
    np.testing.assert_allclose(grad, slope * (expected - TARGET), rtol=1e-10)


def test_numpy_reference():
    learner, meta, task = setup()
    leaves, treedef = jax.tree.flatten(meta.params["gates"])
    keys = jax.random.split(jax.random.key(1), len(leaves))
    gates = jax.tree.unflatten(treedef, [jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)])
    hidden, cell = np.zeros((2, 3, 4))
    write, forget, c = np.zeros(3), np.zeros(3), C0
    for _ in range(STEPS):
        g, value = c - TARGET, 0.5 * np.sum((c - TARGET) ** 2)
        inputs = np.concatenate([log_and_sign(g), np.tile(log_and_sign(value), (3, 1))], -1)
        hidden, cell = lstm(gates["lstm"], hidden, cell, inputs)
        see = lambda last, c=c, hidden=hidden: np.concatenate([hidden, c[:, None], last[:, None]], -1)
        write = sigmoid(dense(gates["write"], see(write)))[:, 0]
        forget = sigmoid(dense(gates["forget"], see(forget)))[:, 0]
        c = forget * c - write * g
    adapted = learner.adapt(Variables({"model": meta.params["model"], "gates": gates}), task.support)
    np.testing.assert_allclose(adapted.params, c, rtol=1e-10)


def test_starts_as_gradient_descent_with_a_small_decay():
    learner, meta, task = setup(init_lr=0.05, init_decay=0.01)
    gates = meta.params["gates"]
    np.testing.assert_allclose(jax.nn.sigmoid(gates["write"]["bias"]), 0.05, rtol=1e-5)
    np.testing.assert_allclose(jax.nn.sigmoid(gates["forget"]["bias"]), 0.99, rtol=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`init_lr` .* between 0 and 1, got 2"):
        jm.lstm(jm.identity(), jm.losses.mse, init_lr=2.0)
