"""R2-D2: Woodbury's identity, a ridge regression by hand in NumPy, regression."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task
from jaxmeta.algorithms._fitted_head import ridge

EMBEDDING = jm.from_functions(lambda key, x: (), lambda variables, x: x)


@pytest.mark.parametrize("shape", [(3, 5), (6, 4), (4, 4)])
@pytest.mark.usefixtures("x64")
def test_woodbury_equals_the_direct_solve(shape):
    x, y = (jnp.asarray(np.random.default_rng(k).normal(size=(shape[0], n))) for k, n in ((0, shape[1]), (1, 2)))
    direct = np.linalg.solve(x.T @ x + 0.3 * np.eye(shape[1]), x.T @ y)
    woodbury = x.T @ np.linalg.solve(x @ x.T + 0.3 * np.eye(shape[0]), y)
    np.testing.assert_allclose(direct, woodbury, rtol=1e-12)
    np.testing.assert_allclose(ridge(x, y, 0.3), direct, rtol=1e-12)
    np.testing.assert_allclose(ridge(x, y[:, 0], 0.3), direct[:, 0], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_regression_is_weighted_ridge():
    """Weights, lambda, scale and bias by NumPy; the mean makes a task said twice the same task."""
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), np.array([1.0, 2.0, 0.0, 0.5, 1.0])
    learner = jm.r2d2(EMBEDDING, jm.losses.mse, init_lambda=0.2)
    support = Batch(jnp.asarray(x), jnp.asarray(y), jnp.asarray(weight))
    meta = learner.init(None, Task(support, support))
    assert meta.params["head"]["scale"] == 1.0  # labels start at 10
    meta = meta._replace(
        params={"model": (), "head": {**meta.params["head"], "scale": 3.0 * jnp.ones(()), "bias": jnp.ones(())}}
    )
    xb = np.concatenate([x, np.ones((5, 1))], 1)
    share = (weight / weight.sum())[:, None]
    weights = np.linalg.solve(xb.T @ (share * xb) + 0.2 * np.eye(4), xb.T @ (share * y))
    outputs = learner.predict(meta, learner.adapt(meta, support), support.x)
    np.testing.assert_allclose(outputs, 3 * (xb @ weights) + 1, rtol=1e-12)
    twice = jax.tree.map(lambda a: jnp.concatenate([a, a]), support)
    np.testing.assert_allclose(learner.predict(meta, learner.adapt(meta, twice), support.x), outputs, rtol=1e-10)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`init_lambda` must be > 0, got 0"):
        jm.r2d2(EMBEDDING, init_lambda=0)
