"""LEO against NumPy: codes of relations, a step on the code, one on the weights, and the loss with its penalties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import dense, mlp, softmax

import jaxmeta as jm
from jaxmeta import Batch, Task


def gradient(function, at, step=1e-6):
    grad = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        move = np.zeros_like(at)
        move[i] = step
        grad[i] = (function(at + move) - function(at - move)) / (2 * step)
    return grad


@pytest.mark.usefixtures("x64")
def test_numpy_reference():
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(9, 3)), np.array([0, 1, 1, 0, 1]), np.array([1.0, 1.0, 2.0, 1.0, 0.0])
    support = Batch(jnp.array(x[:5]), jnp.array(y), jnp.array(weight), jnp.array([True, True, False]))
    task = Task(support, Batch(jnp.array(x[5:]), jnp.array([0, 1, 1, 0]), ways=support.ways))
    learner = jm.leo(jm.identity(), latent=2, num_steps=1, num_fine_tuning=1, init_lr=0.5, init_fine_tuning_lr=0.3)
    meta = learner.init(jax.random.key(0), task)
    meta = meta._replace(params=jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), meta.params))
    p = jax.tree.map(np.asarray, meta.params)

    z, share = dense(p["encoder"], x[:5]), weight / weight.sum()
    pairs = np.stack(
        [sum(share[j] * mlp(p["relation"], np.concatenate([z[i], z[j]])) for j in range(5)) for i in range(5)]
    )
    of_class = lambda w: (weight * (y == w)) @ pairs / (weight * (y == w)).sum()
    mean, log_std = np.split(np.stack([of_class(0), of_class(1)]), 2, -1)
    decode = lambda code: dense(p["decoder"], code)[:, :3]
    error = lambda weights: -(weight * np.log(softmax(x[:5] @ weights.T))[np.arange(5), y]).sum() / weight.sum()
    code = mean - 0.5 * gradient(lambda code: error(decode(code)), mean)
    weights = decode(code) - 0.3 * gradient(error, decode(code))
    adapted = jax.jit(learner.adapt)(meta, support)
    np.testing.assert_allclose(adapted.weights[:2], weights, rtol=1e-6)
    np.testing.assert_allclose(learner.predict(meta, adapted, x[5:])[:, :2], x[5:] @ weights.T, rtol=1e-6)
    kl = 0.5 * (np.exp(2 * log_std) + mean**2 - 1 - 2 * log_std).sum(1).mean()
    np.testing.assert_allclose(adapted.divergence, kl, rtol=1e-6)
    np.testing.assert_allclose(adapted.distance, ((code - mean) ** 2).sum(1).mean(), rtol=1e-5)


@pytest.mark.slow
def test_the_loss_is_that_of_the_queries_and_its_penalties():
    rng = np.random.default_rng(0)
    draw = lambda n: Batch(jnp.array(rng.normal(size=(n, 3))), jnp.arange(n) % 3, ways=jnp.ones(3, bool))
    task = Task(draw(6), draw(9))
    plain, both = (jm.leo(jm.identity(), latent=2, kl_weight=k, encoder_weight=g) for k, g in ((0, 0), (0.5, 2.0)))
    meta, key = plain.init(jax.random.key(1), task), jax.random.key(2)
    loss = jax.jit(plain.loss)
    (first, aux), (second, _) = loss(meta, task, key), jax.jit(both.loss)(meta, task, key)
    assert first == pytest.approx(float(aux.metrics["loss"])) and second > first
    other = loss(meta, task, jax.random.key(3))[0]
    assert other != first  # sampled
    with pytest.raises(ValueError, match="rates > 0"):
        jm.leo(jm.identity(), init_lr=0.0)
