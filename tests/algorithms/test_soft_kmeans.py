"""Soft k-means prototypes by hand and against NumPy, and what `evaluate` says of them."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import KEY, Net, classification

import jaxmeta as jm
from jaxmeta import Batch, Variables

IDENTITY = jm.from_functions(lambda key, x: (), lambda variables, x: x)
NONE = Variables(())


@pytest.mark.usefixtures("x64")
def test_one_step_by_hand():
    """Means 0 and 2 with two examples and one; a query at 1 goes half to each, one at 0 a share of sigmoid(4)."""
    learner = jm.soft_kmeans(IDENTITY, num_ways=2)
    support = Batch(jnp.array([[-1.0], [1.0], [2.0]]), jnp.array([0, 0, 1]))
    outputs = learner.predict(NONE, learner.adapt(NONE, support), jnp.array([[1.0], [0.0]]))
    q = 1 / (1 + np.exp(-4.0))
    means = np.array([(0 + 0.5 * 1 + q * 0) / (2 + 0.5 + q), (2 + 0.5 * 1 + (1 - q) * 0) / (1 + 0.5 + 1 - q)])
    np.testing.assert_allclose(outputs, -((np.array([[1.0], [0.0]]) - means) ** 2), rtol=1e-12)


def reference(x, y, weight, free, free_weight, num_ways, num_steps):
    means = np.stack([np.average(x[y == w], axis=0, weights=weight[y == w]) for w in range(num_ways)])
    for _ in range(num_steps):
        total, mass = np.zeros_like(means), np.zeros(num_ways)
        for row, label, one in zip(x, y, weight, strict=True):
            total[label] += one * row
            mass[label] += one
        closeness = np.exp(-((free[:, None] - means) ** 2).sum(-1))
        share = closeness / closeness.sum(1, keepdims=True) * free_weight[:, None]
        means = (total + share.T @ free) / (mass + share.sum(0))[:, None]
    return means


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("num_steps", [0, 1, 3])
def test_both_sources_of_unlabelled_points_are_the_papers(num_steps):
    """The same points, weights included, as queries or as examples labelled -1; one class is absent."""
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(6, 2)), np.array([0, 1, 1, 0, 1, 0]), np.array([1.0, 1, 1, 1, 0.5, 0])
    free, free_weight, ways = rng.normal(size=(4, 2)), np.array([1.0, 0, 1, 1]), jnp.array([True, True, False])
    means = reference(x, y, weight, free, free_weight, 2, num_steps)
    expected = -((free[:, None] - means) ** 2).sum(-1)
    support = Batch(*map(jnp.asarray, (x, y, weight)), ways)
    by_query = jm.soft_kmeans(IDENTITY, num_steps=num_steps)
    outputs = by_query.predict(NONE, by_query.adapt(NONE, support), jnp.asarray(free), weight=jnp.asarray(free_weight))
    seen = free_weight > 0  # a hidden query has no prediction of its own
    np.testing.assert_allclose(outputs[seen, :2], expected[seen], rtol=1e-12)
    assert (outputs[:, 2] == jnp.finfo(jnp.float64).min).all()
    both = [np.concatenate(pair) for pair in ((x, free), (y, np.full(4, -1)), (weight, free_weight))]
    by_support = jm.soft_kmeans(IDENTITY, num_steps=num_steps, unlabelled="support")
    adapted = by_support.adapt(NONE, Batch(*map(jnp.asarray, both), ways))
    np.testing.assert_allclose(adapted.means[:2], means, rtol=1e-12)
    np.testing.assert_allclose(by_support.predict(NONE, adapted, jnp.asarray(free))[:, :2], expected, rtol=1e-12)


def unlabelled(key):
    """The tasks of the registry with every other support example's label hidden."""
    task = classification(key)
    y = jnp.where(jnp.arange(6) % 2 == 0, task.support.y, -1)
    return task._replace(support=task.support._replace(y=y))


def labelled(key):
    """The same tasks without the examples whose label is hidden."""
    task = unlabelled(key)
    return task._replace(support=task.support._replace(weight=(task.support.y >= 0).astype(float)))


@pytest.mark.parametrize("source, tasks", [("query", labelled), ("support", unlabelled)])
def test_evaluate_says_which_is_transductive(source, tasks):
    learner = jm.soft_kmeans(jm.from_linen(Net()), unlabelled=source)
    meta = jm.init(learner, tasks, optax.sgd(0.1), key=KEY).meta
    assert jm.evaluate(learner, meta, tasks, num_tasks=4)["accuracy"].transductive == (source == "query")


@pytest.mark.parametrize("make", [jm.protonet, jm.soft_kmeans, lambda model: jm.maml(model, jm.losses.cross_entropy)])
def test_who_does_not_use_unlabelled_examples_refuses_them(make):
    with pytest.raises(ValueError, match="`task.support.y` has labels from -1 to 2.*marks unlabelled support examples"):
        jm.init(make(jm.from_linen(Net())), unlabelled, optax.sgd(0.1), key=KEY)


def test_unlabelled_examples_help():
    """On the raw blobs, one labelled example of each class: more points, a better mean."""
    error = {"error": jm.losses.cross_entropy}

    def score(learner, tasks):
        meta = jm.init(learner, tasks, optax.sgd(0.1), key=KEY).meta
        return jm.evaluate(learner, meta, tasks, num_tasks=200, metrics=error)["error"].mean

    plain = score(jm.protonet(IDENTITY), labelled)
    assert score(jm.soft_kmeans(IDENTITY, unlabelled="support"), unlabelled) < plain
    assert score(jm.soft_kmeans(IDENTITY), labelled) < plain


def test_errors():
    with pytest.raises(ValueError, match="`unlabelled` must be 'query' or 'support', got 'all'"):
        jm.soft_kmeans(IDENTITY, unlabelled="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`num_steps` must be >= 0, got -1"):
        jm.soft_kmeans(IDENTITY, num_steps=-1)
