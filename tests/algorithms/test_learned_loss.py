"""A learned loss: one step written out with NumPy, for numbers and for labels, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task

WEIGHT = np.array([1.0, 0.0, 2.0])


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.usefixtures("x64")
def test_one_step(labels):
    """Backpropagation by hand through softplus, two layers and a linear model."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 2)), rng.normal(size=(2, 3))
    y = np.array([2, 0, 1]) if labels else rng.normal(size=(3, 3))
    model = jm.from_functions(lambda key, x: jnp.zeros((2, 3)), lambda v, x: x @ v.params)
    learner = jm.learned_loss(model, jm.losses.mse, hidden=(4,), inner_optimizer=optax.sgd(0.5))
    support = Batch(jnp.array(x), jnp.array(y), jnp.array(WEIGHT))
    meta = learner.init(jax.random.key(0), Task(support, support))
    rule = jax.tree.map(lambda a: rng.normal(size=a.shape), meta.params["loss"])
    out = x @ w
    seen = np.exp(out) / np.exp(out).sum(1, keepdims=True) if labels else out
    before = (
        np.concatenate([seen, np.eye(3)[y] if labels else y], 1) @ rule["dense0"]["kernel"] + rule["dense0"]["bias"]
    )
    score = np.maximum(before, 0) @ rule["dense1"]["kernel"] + rule["dense1"]["bias"]
    d_score = (WEIGHT / WEIGHT.sum())[:, None] / (1 + np.exp(-score))
    d_seen = ((d_score @ rule["dense1"]["kernel"].T * (before > 0)) @ rule["dense0"]["kernel"].T)[:, :3]
    d_out = seen * (d_seen - (d_seen * seen).sum(1, keepdims=True)) if labels else d_seen
    params = jax.tree.map(jnp.array, {"model": w, "loss": rule})
    adapted = learner.adapt(meta._replace(params=params), support)
    np.testing.assert_allclose(adapted.params, w - 0.5 * x.T @ d_out, rtol=1e-10)
