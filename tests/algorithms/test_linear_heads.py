"""What every linear head obeys: an optimum (by NumPy), a right gradient, no matter the order or the padding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

MAKE = {
    "r2d2": jm.r2d2,
    "lrd2": partial(jm.lrd2, num_steps=10),
    "svm": jm.metaoptnet,
    "svm_undamped": partial(jm.metaoptnet, damping=0.0, C=0.5),
    "ridge": partial(jm.metaoptnet, head="ridge", ridge_strength=0.7),
}
heads = pytest.mark.parametrize("name", MAKE)
DIM = 5
sigmoid = lambda m: 1 / (1 + np.exp(-m))


def embedding(width, dtype):
    kernel = 0.8 * np.random.default_rng(1).normal(size=(DIM, width))
    init = lambda key, x: {"kernel": jnp.asarray(kernel, dtype)}
    return jm.from_functions(init, lambda variables, x: jnp.tanh(x @ variables.params["kernel"]))


def task(dtype=np.float64, shots=2, ways=3):
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(ways, 1, DIM))
    x = (centers + 0.7 * rng.normal(size=(ways, shots + 2, DIM))).astype(dtype)
    y = np.broadcast_to(np.arange(ways)[:, None], x.shape[:2])
    batch = lambda rows: Batch(
        jnp.asarray(x[:, rows].reshape(-1, DIM)),
        jnp.asarray(y[:, rows].reshape(-1), jnp.int32),
        None,
        jnp.ones(ways, bool),
    )
    return Task(batch(slice(0, shots)), batch(slice(shots, None)))


def build(name, width=9, dtype=np.float64):
    """Nine features for six examples, and the fitted learner's parts."""
    learner = MAKE[name](embedding(width, dtype))
    episode = task(dtype)
    meta = learner.init(jax.random.key(0), episode)
    return learner, jax.tree.map(lambda a: a.astype(dtype), meta), episode


def features(meta, episode, bias=True):
    z = np.tanh(np.asarray(episode.support.x, np.float64) @ np.asarray(meta.params["model"]["kernel"], np.float64))
    return np.concatenate([z, np.ones((len(z), 1))], 1) if bias else z


def gap(z, y, weights, alpha, C, damping):
    """Duality gap of Crammer and Singer's machine; damping gives every example a feature of its own."""
    square = (weights**2).sum() + damping * (alpha**2).sum()
    scores = z @ weights + damping * alpha
    margins = 1 - y + scores - (scores * y).sum(1, keepdims=True)
    primal = square / 2 + C * margins.max(1).sum()  # the own class has margin 0
    return primal - ((alpha * y).sum() - square / 2)


def violation(name, meta, episode, weights):
    """How far the fitted weights are from the optimum of the problem in the docstring, in NumPy."""
    y = np.eye(3)[np.asarray(episode.support.y)]
    if name == "r2d2":
        x = features(meta, episode)
        strength = np.exp(float(meta.params["head"]["log_lambda"]))
        return np.abs(x.T @ (x @ weights - y) / len(x) + strength * weights).max()
    if name == "lrd2":
        x, sign = features(meta, episode), 2 * y - 1
        strength = np.exp(float(meta.params["head"]["log_lambda"]))
        return np.abs(strength * weights - x.T @ (sign * sigmoid(-sign * (x @ weights)))).max()
    z = features(meta, episode, bias=False)
    if name == "ridge":
        return np.abs(z.T @ (z @ weights - y) + 0.7 * weights).max()
    C, damping = (0.1, 1.0) if name == "svm" else (0.5, 0.0)
    alpha = np.linalg.lstsq(z.T, weights, rcond=None)[0]  # fewer examples than features: unique
    feasible = max(np.abs(alpha.sum(1)).max(), (alpha - C * y).max())
    return max(gap(z, y, weights, alpha, C, damping), feasible)


@heads
@pytest.mark.parametrize("dtype, tol", [(np.float64, 1e-8), (np.float32, 2e-5)], ids=["float64", "float32"])
@pytest.mark.usefixtures("x64")
def test_the_fit_is_optimal(name, dtype, tol, record_property):
    """By the residual that the learner reports and by an independent one."""
    learner, meta, episode = build(name, dtype=dtype)
    adapted = jax.jit(learner.adapt)(meta, episode.support)
    assert adapted.weights.dtype == dtype
    independent = violation(name, meta, episode, np.asarray(adapted.weights, np.float64))
    record_property("residual", float(adapted.residual))
    record_property("independent", float(independent))
    assert adapted.residual <= tol and independent <= tol


@heads
@pytest.mark.parametrize("width", [3, 9], ids=["wide support", "Woodbury"])
@pytest.mark.usefixtures("x64")
def test_gradient_by_finite_differences(name, width):
    """Through the embedding, the fit and the learned scalars, at several tasks' worth of features."""
    if name == "svm_undamped" and width == 3:
        pytest.skip("six examples in three dimensions have no unique dual solution without damping")
    learner, meta, episode = build(name, width)
    loss = jax.jit(lambda params: learner.loss(Variables(params), episode, None)[0])
    check_grads(loss, (meta.params,), order=1, modes=["rev"], rtol=1e-5, atol=1e-7, eps=1e-5)


@pytest.mark.parametrize("name", [name for name in MAKE if name != "svm_undamped"])
@pytest.mark.usefixtures("x64")
def test_order_padding_and_absent_ways_do_not_matter(name):
    learner, meta, (support, query) = build(name)
    outputs = jax.jit(lambda support: learner.predict(meta, learner.adapt(meta, support), query.x))
    close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)
    weighted = support._replace(weight=jnp.array([1.0, 0.5, 1.0, 2.0, 1.0, 1.0]))
    expected = outputs(weighted)
    assert float(jnp.abs(expected - outputs(support._replace(weight=jnp.ones(6)))).max()) > 1e-4  # weights count
    order = np.array([3, 0, 5, 1, 4, 2])
    close(outputs(Batch(weighted.x[order], weighted.y[order], weighted.weight[order], weighted.ways)), expected)
    extend = lambda a, fill: jnp.concatenate([a, jnp.full((4, *a.shape[1:]), fill, a.dtype)])
    close(
        outputs(Batch(extend(weighted.x, 1e3), extend(weighted.y, 2), extend(weighted.weight, 0), support.ways)),
        expected,
    )
    # Three ways of which one is absent, and six examples of which two are padding, are the problem of two and four.
    absent = outputs(support._replace(weight=jnp.array([1.0, 1, 1, 1, 0, 0]), ways=jnp.array([True, True, False])))
    close(absent[:, :2], outputs(Batch(support.x[:4], support.y[:4], None, jnp.ones(2, bool))))
    assert (absent[:, 2] == jnp.finfo(absent.dtype).min).all()


@heads
def test_bad_targets(name):
    learner, meta, (support, _) = build(name, dtype=np.float32)
    with pytest.raises(ValueError, match="number of ways"):
        learner.adapt(meta, support._replace(ways=None))
    with pytest.raises(ValueError, match="integer labels"):
        learner.adapt(meta, support._replace(y=jnp.zeros(6)))
