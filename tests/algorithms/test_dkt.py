"""DKT against scikit-learn's Gaussian processes, ALPaCA against Bayesian regression written out; in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 2)), RNG.normal(size=(12, 3))
WEIGHT = np.array([1.0, 0.0, 2.0, 1.0, 1.0, 0.5, 1.0])
SCALE, LENGTH, NOISE = 1.7, 0.8, 0.3
STARTS = {"init_scale": SCALE, "init_length": LENGTH, "init_noise": NOISE}


@pytest.mark.filterwarnings("ignore:divide by zero")  # the logarithm of DotProduct's offset, 0
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_posterior_and_likelihood_are_those_of_scikit_learn(kernel, weight):
    """Mean, standard deviation and log marginal likelihood; an example of weight w has noise variance over w."""
    learner = jm.dkt(jm.identity(), kernel=kernel, **STARTS)
    support = Batch(jnp.array(X[:7]), jnp.array(Y[:7]), None if weight is None else jnp.array(weight))
    query = Batch(jnp.array(X[7:]), jnp.array(Y[7:]))
    task = Task(support, query)
    meta = learner.init(jax.random.key(0), task)
    outputs = learner.predict(meta, learner.adapt(meta, support), query.x)
    weight = np.ones(7) if weight is None else weight
    shown = weight > 0
    k = (
        ConstantKernel(SCALE**2) * RBF(LENGTH)
        if kernel == "rbf"
        else ConstantKernel(SCALE**2 / LENGTH**2) * DotProduct(0)
    )
    noise = NOISE**2 / weight[shown]
    fitted = GaussianProcessRegressor(k, alpha=noise, optimizer=None).fit(X[:7][shown], Y[:7][shown])
    mean, std = fitted.predict(X[7:], return_std=True)
    np.testing.assert_allclose(outputs.mean, mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(outputs.std, np.sqrt(np.asarray(std) ** 2 + NOISE**2), rtol=1e-8)
    every, targets = np.concatenate([X[:7][shown], X[7:]]), np.concatenate([Y[:7][shown], Y[7:]])
    k = k(every) + np.diag(np.concatenate([noise, np.full(5, NOISE**2)]))
    wanted = -multivariate_normal(np.zeros(len(k)), k).logpdf(targets.T).mean() / len(k)
    np.testing.assert_allclose(learner.loss(meta, task, None)[0], wanted, rtol=1e-9)


def test_labels_are_regressed_as_signs():
    learner = jm.dkt(jm.identity(), num_ways=3, **STARTS)
    support = Batch(jnp.array(X[:7]), jnp.array([0, 1, 2, 0, 1, 2, 0]))
    task = Task(support, Batch(jnp.array(X[7:]), jnp.array([0, 1, 2, 0, 1])))
    meta = learner.init(jax.random.key(0), task)
    kernel = ConstantKernel(SCALE**2) * RBF(LENGTH) + WhiteKernel(NOISE**2)
    fitted = GaussianProcessRegressor(kernel, alpha=0, optimizer=None).fit(X[:7], 2 * np.eye(3)[support.y] - 1)
    outputs = learner.predict(meta, learner.adapt(meta, support), task.query.x)
    np.testing.assert_allclose(outputs, fitted.predict(X[7:]), rtol=1e-8, atol=1e-10)
    assert learner.loss(meta, task, None)[1].metrics["accuracy"] == np.mean(outputs.argmax(1) == task.query.y)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_alpaca_is_bayesian_regression(weight):
    """The posterior of all weights as one Gaussian vector, conditioned on observations: no formula in common."""
    prior_mean, factor, std = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 2)), np.array([0.5, 1.0, 2.0])
    learner = jm.alpaca(jm.identity())
    support = Batch(jnp.array(X[:7]), jnp.array(Y[:7]), None if weight is None else jnp.array(weight))
    params = {"model": (), "mean": prior_mean, "factor": factor, "log_std": np.log(std)}
    meta = Variables(jax.tree.map(jnp.array, params))
    outputs = learner.predict(meta, learner.adapt(meta, support), jnp.array(X[7:]))
    weight = np.ones(7) if weight is None else weight
    shown, old = weight > 0, np.linalg.inv(factor @ factor.T)
    for i in range(3):
        seen, new = X[:7][shown], X[7:]
        gram = std[i] ** 2 * (seen @ old @ seen.T + np.diag(1 / weight[shown]))
        gain = np.linalg.solve(gram, std[i] ** 2 * seen @ old @ new.T).T
        mean = new @ prior_mean[:, i] + gain @ (Y[:7, i][shown] - seen @ prior_mean[:, i])
        variance = std[i] ** 2 * (np.diag(new @ old @ new.T) + 1) - np.diag(gain @ (std[i] ** 2 * seen @ old @ new.T))
        np.testing.assert_allclose(outputs.mean[:, i], mean, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(outputs.std[:, i], np.sqrt(variance), rtol=1e-8)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`kernel` must be 'rbf' or 'linear', got 'cosine'"):
        jm.dkt(jm.identity(), kernel="cosine")
    with pytest.raises(ValueError, match="`init_noise` must be > 0, got 0"):
        jm.dkt(jm.identity(), init_noise=0)
    with pytest.raises(ValueError, match="`init_std` must be > 0, got 0"):
        jm.alpaca(jm.identity(), init_std=0)
    labels = Batch(jnp.array(X), jnp.zeros(12, int))
    with pytest.raises(ValueError, match="`alpaca` must be numbers"):
        jm.alpaca(jm.identity()).init(jax.random.key(0), Task(labels, labels))
