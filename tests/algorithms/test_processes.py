"""The transformer process against NumPy; the convolutional one by loops, and under a shift of its inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import dense, mlp, softmax, softplus

import jaxmeta as jm
from jaxmeta import Batch, Task

pytestmark = pytest.mark.usefixtures("x64")


def setup(learner):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (9, 1)), rng.normal(size=(9, 2))
    support = Batch(jnp.array(x[:5]), jnp.array(y[:5]), jnp.array([1.0, 1.0, 0.0, 1.0, 2.0]))
    task = Task(support, Batch(jnp.array(x[5:]), jnp.array(y[5:])))
    meta = learner.init(jax.random.key(0), task)
    wide = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) * 0.5), meta.params)
    return meta._replace(params=wide), task


def run(learner, meta, support, x):
    return jax.jit(lambda support, x: learner.predict(meta, learner.adapt(meta, support), x))(support, x)


def test_the_transformer_by_numpy():
    learner = jm.transformer_process(jm.identity(), hidden=4, num_layers=2, num_heads=2, min_std=0.1)
    meta, task = setup(learner)
    p, weight = jax.tree.map(np.asarray, meta.params), np.asarray(task.support.weight)

    def norm(p, h):
        return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]

    def layer(p, h, seen):
        q, k, v = dense(p["q"], h), dense(p["k"], seen), dense(p["v"], seen)
        heads = []
        for columns in (slice(0, 2), slice(2, 4)):
            share = softmax(q[:, columns] @ k[:, columns].T / np.sqrt(2) + np.log(np.maximum(weight, 1e-300)))
            heads.append(share @ v[:, columns])
        h = norm(p["norm0"], h + dense(p["o"], np.concatenate(heads, -1)))
        return norm(p["norm1"], h + mlp(p["mlp"], h))

    s = mlp(p["tokens"], np.concatenate([task.support.x, task.support.y, np.ones((5, 1))], -1))
    h = mlp(p["tokens"], np.concatenate([task.query.x, np.zeros((4, 3))], -1))
    for one in p["layers"]:
        s, h = layer(one, s, s), layer(one, h, s)
    mean, std = np.split(mlp(p["head"], h), 2, -1)
    found = run(learner, meta, task.support, task.query.x)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(found.std, 0.1 + 0.9 * softplus(std), rtol=1e-9)


def test_the_convolutional_process_by_loops_and_under_a_shift():
    learner = jm.conv_process(bounds=(-4, 4), points_per_unit=4, channels=3, kernel_size=3, num_layers=2, min_std=0.1)
    meta, task = setup(learner)
    meta.params["log_scale"] = jnp.log(jnp.array([0.4, 0.3]))
    p, weight = jax.tree.map(np.asarray, meta.params), np.asarray(task.support.weight)
    grid = np.linspace(-4, 4, 33)
    kernel = lambda a, b, scale: np.exp(-0.5 * ((a - b) / scale) ** 2)
    h = np.zeros((33, 3))
    for g, t in enumerate(grid):
        near = weight * kernel(t, np.asarray(task.support.x)[:, 0], 0.4)
        h[g] = [near.sum(), *(near @ np.asarray(task.support.y) / (near.sum() + 1e-8))]
    for number, conv in enumerate(p["convolutions"]):
        padded = np.pad(np.maximum(h, 0) if number else h, ((1, 1), (0, 0)))
        h = np.stack([sum(padded[g + i] @ conv["kernel"][i] for i in range(3)) for g in range(33)]) + conv["bias"]
    near = kernel(np.asarray(task.query.x), grid[None], 0.3)
    mean, std = np.split(near @ np.maximum(h, 0) / (near.sum(1, keepdims=True) + 1e-8) @ p["head"], 2, -1)
    found = run(learner, meta, task.support, task.query.x)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-8)
    np.testing.assert_allclose(found.std, 0.1 + 0.9 * softplus(std), rtol=1e-8)
    moved = run(learner, meta, task.support._replace(x=task.support.x + 0.5), task.query.x + 0.5)
    np.testing.assert_allclose(moved.mean, found.mean, rtol=1e-4)  # what lies beyond the ends has weight e^-50


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_heads` divide `hidden` = 6, got 3 and 4"):
        jm.transformer_process(jm.identity(), hidden=6)
    with pytest.raises(ValueError, match="`bounds` must rise"):
        jm.conv_process(bounds=(1, 0))
    learner = jm.conv_process(bounds=(0, 1))
    batch = Batch(jnp.ones((2, 3)), jnp.ones((2, 1)))
    with pytest.raises(ValueError, match=r"needs inputs \[N, 1\] .* got \(2, 3\)"):
        learner.init(jax.random.key(0), Task(batch, batch))


@pytest.mark.slow
def test_the_convolutional_process_keeps_the_laws():
    learner = jm.conv_process(bounds=(-6, 6), points_per_unit=4, channels=8, num_layers=3)
    tasks = jm.tasks.sinusoid(amplitude=(1, 1))
    outcome = jm.testing.check_learner(learner, tasks, loss_fn=jm.losses.gaussian_nll)
    assert set(outcome.values()) == {"holds"}
