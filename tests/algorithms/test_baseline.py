"""Baseline and Baseline++: the loss of global labels, and what is fitted on a support set."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("x64")
LINEAR = jm.from_functions(
    lambda key, x: jax.random.normal(key, (4, 3)), lambda variables, x: x @ variables.params
)  # an embedding of one matrix
X, Y = np.random.default_rng(0).normal(size=(6, 4)), jnp.array([0, 1, 2, 0, 1, 2])
WAYS = jnp.ones(3, bool)


def cross_entropy(logits, labels, weight):
    logits = np.asarray(logits)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -np.sum(np.asarray(weight) * log_p[np.arange(len(labels)), np.asarray(labels)]) / np.sum(weight)


@pytest.mark.parametrize("name", ["baseline", "baseline_plus_plus"])
def test_the_loss_is_that_of_a_classifier_of_all_classes(name):
    learner = getattr(jm, name)(LINEAR)
    weight = jnp.array([1.0, 0.0, 2.0, 1.0, 1.0, 1.0])
    task = Task(None, Batch(X, jnp.array([0, 1, 6, 3, 4, 5]), weight, jnp.ones(7, bool)))
    meta = learner.init(KEY, task)
    z, kernel = X @ meta.params["model"], meta.params["head"]["kernel"]
    assert kernel.shape == (3, 7)
    logits = z @ kernel
    if name == "baseline_plus_plus":
        logits = 10 * logits / np.linalg.norm(z, axis=1)[:, None] / np.linalg.norm(kernel, axis=0)[None]
    value, aux = learner.loss(meta, task)
    np.testing.assert_allclose(value, cross_entropy(logits, task.query.y, weight), rtol=1e-6)
    assert sorted(aux.metrics) == ["accuracy", "loss"]


def test_a_new_head_by_hand():
    """Two steps of gradient descent on W', written out; the embedding and meta stay."""
    learner = jm.baseline(LINEAR, inner_optimizer=optax.sgd(0.5), num_steps=2)
    task = Task(None, Batch(X, Y, ways=WAYS))
    meta = learner.init(KEY, task)
    start = jm.baseline(LINEAR, num_steps=0).adapt(meta, task.query).params["head"]
    adapted = learner.adapt(meta, task.query)
    assert set(adapted.params) == {"head"}
    z, kernel, bias = np.asarray(X @ meta.params["model"]), np.asarray(start["kernel"]), np.zeros(3)
    for _ in range(2):
        odds = np.exp(z @ kernel + bias)
        residual = (odds / odds.sum(1, keepdims=True) - np.eye(3)[np.asarray(Y)]) / 6
        kernel, bias = kernel - 0.5 * z.T @ residual, bias - 0.5 * residual.sum(0)
    np.testing.assert_allclose(adapted.params["head"]["kernel"], kernel, rtol=1e-6)
    np.testing.assert_allclose(learner.predict(meta, adapted, X), z @ kernel + bias, rtol=1e-5)


def test_fine_tuning_everything_is_ordinary_training():
    """Momentum steps on the body and the new head, against optax on a plain loss."""
    sgd = optax.sgd(0.1, momentum=0.9)
    learner = partial(jm.baseline, LINEAR, fine_tune="all", inner_optimizer=sgd)
    meta = learner().init(KEY, Task(None, Batch(X, Y, ways=WAYS)))
    support = Batch(X, Y, jnp.array([1.0, 1, 1, 1, 0, 2]), WAYS)
    params = learner(num_steps=0).adapt(meta, support).params
    adapted = learner(num_steps=3).adapt(meta, support)

    def loss(params):
        logits = X @ params["model"] @ params["head"]["kernel"] + params["head"]["bias"][None]
        return jm.losses.cross_entropy(logits, Y, support.weight)

    opt_state = sgd.init(params)
    for _ in range(3):
        updates, opt_state = sgd.update(jax.grad(loss)(params), opt_state)
        params = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), adapted.params, params)


@pytest.mark.parametrize("fine_tune", ["head", "all"])
@pytest.mark.parametrize("name", ["baseline", "baseline_plus_plus"])
def test_padding_and_absent_ways_are_invisible_to_adaptation(name, fine_tune):
    learner = getattr(jm, name)(LINEAR, fine_tune=fine_tune, num_steps=3)
    meta = learner.init(KEY, Task(None, Batch(X, Y, ways=WAYS)))
    ways = jnp.array([True, True, False])
    plain = Batch(X[:4], Y[:4] % 2, jnp.ones(4), ways)
    padded = Batch(jnp.array(X).at[4:].set(50.0), Y % 2, (jnp.arange(6) < 4) * 1.0, ways)
    run = jax.jit(lambda support: learner.predict(meta, learner.adapt(meta, support), X))
    np.testing.assert_allclose(run(plain), run(padded), rtol=1e-10)
    assert (run(plain).argmax(-1) < 2).all()


def test_statistics_of_pre_training_are_kept():
    """With `norm="running"` the moving average leaves the loss, and adaptation and prediction use it."""
    model = jm.from_linen(jm.backbones.MLP((8,), norm=True), norm="running")
    learner, task = jm.baseline(model, num_steps=2), Task(None, Batch(X, Y, ways=WAYS))
    meta = learner.init(KEY, task)
    state = learner.loss(meta, task)[1].state
    hidden = X @ meta.params["model"]["dense0"]["kernel"]
    np.testing.assert_allclose(state["batch_stats"]["norm0"]["mean"], 0.1 * hidden.mean(0), rtol=1e-5, atol=1e-7)
    meta = meta._replace(state=state)
    adapted = learner.adapt(meta, task.query)
    jax.tree.map(np.testing.assert_array_equal, adapted.state, state)
    first = lambda x: learner.predict(meta, adapted, x)[0]
    np.testing.assert_allclose(first(X), first(jnp.array(X).at[1:].add(9.0)), rtol=1e-6)


@pytest.mark.parametrize(
    "run, text",
    [
        (lambda: jm.baseline(LINEAR, fine_tune="body"), "`fine_tune` must be 'head' or 'all', got 'body'"),
        (lambda: jm.baseline_plus_plus(LINEAR, scale=0.0), "`scale` must be positive, got 0.0"),
        (lambda: jm.baseline(LINEAR).init(KEY, Task(None, Batch(X, Y))), "number of ways is unknown.*num_classes"),
        (
            lambda: jm.baseline(LINEAR).loss(
                jm.baseline(LINEAR, num_classes=9).init(KEY, Task(None, Batch(X, Y))),
                Task(None, Batch(X, Y, ways=WAYS)),
            ),
            "made for 9 classes but this batch has 3",
        ),
    ],
)
def test_errors(run, text):
    with pytest.raises(ValueError, match=text):
        run()


def test_variables_are_a_plain_pytree():
    meta = jm.baseline(LINEAR, num_classes=5).init(KEY, Task(None, Batch(X, Y)))
    assert isinstance(meta, Variables) and set(meta.params) == {"model", "head"}
