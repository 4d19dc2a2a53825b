"""Neural processes against NumPy, with and without attention, with weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import dense, mlp, softmax, softplus

import jaxmeta as jm
from jaxmeta import Batch, Task

WEIGHT = jnp.array([1.0, 0.0, 2.0, 1.0])


def setup(num_heads):
    x, y = jax.random.normal(jax.random.key(0), (6, 2)), jax.random.normal(jax.random.key(1), (4, 2))
    support = Batch(x[:4], y, WEIGHT)
    learner = jm.neural_process(jm.identity(), hidden=4, num_layers=2, num_heads=num_heads)
    meta = learner.init(jax.random.key(2), Task(support, support))
    return learner, jax.tree.map(lambda a: a.astype(float), meta), support, x[4:]


@pytest.mark.parametrize("num_heads", [0, 2])
@pytest.mark.usefixtures("x64")
def test_numpy_reference(num_heads):
    learner, meta, support, queries = setup(num_heads)
    p, weight, x, targets = meta.params, np.asarray(WEIGHT), np.asarray(support.x), np.asarray(queries)
    values = mlp(p["encoder"], np.concatenate([x, support.y], -1))
    r = np.tile((weight @ values / weight.sum())[None], (2, 1))
    if num_heads:
        keys, asks, parts = mlp(p["where"], x), mlp(p["where"], targets), []
        for part in (slice(0, 2), slice(2, 4)):
            share = softmax(asks[:, part] @ keys[:, part].T / np.sqrt(2)) * weight[None]
            parts.append(share / share.sum(-1, keepdims=True) @ values[:, part])
        r = dense(p["merge"], np.concatenate(parts, -1))
    mean, std = np.split(mlp(p["decoder"], np.concatenate([targets, r], -1)), 2, -1)
    outputs = learner.predict(meta, learner.adapt(meta, support), queries)
    np.testing.assert_allclose(outputs.mean, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(outputs.std, 0.1 + 0.9 * softplus(std), rtol=1e-9)


def test_default_metrics_know_the_likelihood_and_the_error_of_the_mean():
    learner, meta, support, _ = setup(0)
    metrics = learner.loss(meta, Task(support, support), None)[1].metrics
    assert sorted(metrics) == ["loss", "mse", "nll"] and metrics["loss"] == metrics["nll"]


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_heads` must be 0 or divide `hidden` = 128, got 3"):
        jm.neural_process(jm.identity(), num_heads=3)
    learner, _, support, _ = setup(0)
    with pytest.raises(ValueError, match="targets must be numbers"):
        learner.init(jax.random.key(0), Task(support._replace(y=jnp.zeros(4, int)), support))
