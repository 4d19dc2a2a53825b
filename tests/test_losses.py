"""Losses, weights and metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxmeta import Batch, losses

LOGITS = jnp.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0], [3.0, 3.0, 0.0]])
LABELS = jnp.array([0, 2, 1])


def test_cross_entropy_by_hand():
    z = np.asarray(LOGITS, np.float64)
    expected = np.log(np.exp(z).sum(1)) - z[np.arange(3), np.asarray(LABELS)]
    np.testing.assert_allclose(losses.cross_entropy(LOGITS, LABELS), expected.mean(), rtol=1e-6)
    weight = jnp.array([1.0, 3.0, 0.0])
    np.testing.assert_allclose(losses.cross_entropy(LOGITS, LABELS, weight), (expected * weight).sum() / 4, rtol=1e-6)


def test_sigmoid_mse_by_hand():
    """An absent class, masked, changes nothing."""
    scores = 1 / (1 + np.exp(-np.asarray(LOGITS, np.float64)))
    expected = ((scores - np.eye(3)[[0, 2, 1]]) ** 2).sum(1)
    np.testing.assert_allclose(losses.sigmoid_mse(LOGITS, LABELS), expected.mean(), rtol=1e-6)
    weight = jnp.array([1.0, 3.0, 0.0])
    wider = jnp.concatenate([LOGITS, jnp.full((3, 1), jnp.finfo(jnp.float32).min)], 1)
    np.testing.assert_allclose(losses.sigmoid_mse(wider, LABELS, weight), (expected * weight).sum() / 4, rtol=1e-6)


def test_gaussian_nll_is_scipys():
    mean, std, y = jnp.array([[0.0, 1.0], [2.0, 3.0]]), jnp.array([[1.0, 0.1], [2.0, 3.0]]), jnp.ones((2, 2))
    expected = -norm.logpdf(np.asarray(y), np.asarray(mean), np.asarray(std))
    np.testing.assert_allclose(losses.gaussian_nll(losses.Gaussian(mean, std), y), expected.mean(), rtol=1e-6)
    first = losses.gaussian_nll((mean, std), y, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(first, expected[0].mean(), rtol=1e-6)


def test_weights_per_token_and_per_example():
    values = jnp.arange(6.0).reshape(2, 3)
    assert losses.weighted_mean(values, jnp.array([[1.0, 0, 0], [0, 0, 1.0]])) == 2.5
    assert losses.weighted_mean(values, jnp.array([0.0, 1.0])) == 4.0
    assert losses.weighted_mean(values, jnp.zeros(2)) == 0.0


LOSSES = {  # loss or metric, outputs and targets of one example
    "cross_entropy": (losses.cross_entropy, (3,), ()),
    "sigmoid_mse": (losses.sigmoid_mse, (3,), ()),
    "accuracy": (losses.accuracy, (3,), ()),
    "expected_calibration_error": (losses.expected_calibration_error, (3,), ()),
    "nll": (losses.nll, (3,), ()),
    "mse": (losses.mse, (2,), (2,)),
    "gaussian_nll": (losses.gaussian_nll, (2,), (2,)),
    "own, per example": (lambda o, y: -jnp.log(o - y).sum(-1), (2,), (2,)),
    "own, a scalar": (
        lambda o, y, weights=1.0: (weights * jnp.sqrt(o - y).sum(-1)).sum() / jnp.sum(weights),
        (2,),
        (2,),
    ),
}


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf, 0.0])
@pytest.mark.parametrize("name", LOSSES)
def test_what_has_weight_0_reaches_neither_value_nor_gradient(name, bad):
    """Neither through the outputs nor through a parameter of the loss; 0 is where the logarithm has no derivative."""
    loss_fn, outputs, targets = LOSSES[name]
    rows, weight = jnp.array([0, 2, 4]), jnp.array([1.0, 0, 2.0, 0, 0.5])
    out = 2.0 + jax.random.uniform(jax.random.key(0), (5, *outputs))
    y = jnp.array([0, 1, 2, 1, 0]) if targets == () else jax.random.uniform(jax.random.key(1), (5, *targets))
    hidden = jnp.array([1, 3])

    def value(temperature, out, y, weight):
        def scaled(o, y, weights=None):
            o = losses.Gaussian(o * temperature, o * temperature) if name == "gaussian_nll" else o * temperature
            return loss_fn(o, y) if weights is None else loss_fn(o, y, weights)

        return losses.batch_loss(scaled, out, Batch(None, y, weight))

    expected = jax.value_and_grad(value, (0, 1))(1.5, out[rows], y[rows], weight[rows])
    dirty = y.at[hidden].set(-100) if targets == () else y.at[hidden].set(bad)
    found, (slope, each) = jax.value_and_grad(value, (0, 1))(1.5, out.at[hidden].set(bad), dirty, weight)
    np.testing.assert_allclose([found, slope], [expected[0], expected[1][0]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(each[rows], expected[1][1], rtol=1e-5, atol=1e-6)
    assert not each[hidden].any()
    if not name.startswith("own"):
        loss, grads = jax.value_and_grad(value, (0, 1))(1.5, jnp.full_like(out, bad), dirty, jnp.zeros(5))
        assert loss == 0 and not grads[0] and not grads[1].any()


def test_what_is_hidden_is_hidden_by_entry_or_by_example():
    weight = jnp.array([[1.0, 0.0], [0.0, 0.0]])
    tree = {"token": jnp.arange(4.0).reshape(2, 2), "sentence": jnp.array([5, 6]), "other": jnp.arange(3)}
    hidden = losses.hide(tree, weight)
    assert hidden["token"].tolist() == [[0, 0], [0, 0]] and hidden["sentence"].tolist() == [5, 5]
    assert hidden["other"].tolist() == [0, 1, 2]
    with_weight = losses.hide(jnp.array([[1.0], [2.0]]), jnp.array([0.0, 1.0]))
    assert with_weight.tolist() == [[2.0], [2.0]]


def test_nan_is_no_class():
    assert np.isnan(losses.accuracy(LOGITS.at[1, 2].set(jnp.nan), LABELS))
    assert np.isnan(losses.expected_calibration_error(LOGITS.at[1, 2].set(jnp.nan), LABELS))
    assert losses.accuracy(LOGITS.at[1, 2].set(jnp.nan), LABELS, jnp.array([1.0, 0.0, 1.0])) == 0.5


def test_calibration_by_hand():
    """Two examples of confidence 0.6, one right; one of 0.9, right; and the weighted likelihood is cross-entropy."""
    logits = jnp.log(jnp.array([[0.6, 0.4], [0.4, 0.6], [0.9, 0.1], [0.5, 0.5]]))
    labels, weight = jnp.array([0, 0, 0, 1]), jnp.array([1.0, 1.0, 2.0, 0.0])
    expected = 2 / 4 * abs(0.5 - 0.6) + 2 / 4 * abs(1 - 0.9)
    found = losses.expected_calibration_error(logits, labels, weight, num_bins=10)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(losses.nll(logits, labels), -np.log([0.6, 0.4, 0.9, 0.5]).mean(), rtol=1e-6)


@pytest.mark.parametrize(
    "outputs, targets, names",
    [
        (jnp.ones((4, 3)), jnp.ones(4, int), ["accuracy"]),
        (jnp.ones((4, 2, 3)), jnp.ones((4, 2), int), ["accuracy"]),
        (jnp.ones((4, 1)), jnp.ones((4, 1)), ["mse"]),
        (losses.Gaussian(jnp.ones((4, 1)), jnp.ones((4, 1))), jnp.ones((4, 1)), ["nll", "mse"]),
        (jnp.ones((4, 1)), jnp.ones(4, int), []),  # one logit for two classes, or the logarithm of a rate
        (jnp.ones(4), jnp.ones(4, int), []),
        (jnp.ones((4, 3)), jnp.ones((4, 3), int), []),  # several labels, or counts
        (jnp.ones((4, 1)), jnp.ones(4), []),
        (jnp.ones((4, 3)), jnp.ones(4, bool), []),
        ((jnp.ones((4, 3)), jnp.ones((4, 1))), jnp.ones(4, int), []),
        ({"a": jnp.ones((4, 3))}, {"a": jnp.ones(4, int)}, []),
        (losses.Gaussian(jnp.ones((4, 1)), jnp.ones((4, 1))), {"a": jnp.ones(4, int)}, []),
    ],
)
def test_a_metric_only_where_it_fits(outputs, targets, names):
    assert list(losses.default_metrics(outputs, targets)) == names


def test_half_precision_is_reduced_in_float32():
    assert losses.cross_entropy(LOGITS.astype(jnp.bfloat16), LABELS).dtype == jnp.float32


def test_batch_loss_weighs_what_the_loss_does_not():
    batch = Batch(None, jnp.array([1.0, 2.0, 9.0]), jnp.array([1.0, 1.0, 0.0]))
    outputs = jnp.zeros(3)
    per_example = lambda outputs, targets: (outputs - targets) ** 2
    weighing = lambda outputs, targets, weight=None: losses.weighted_mean((outputs - targets) ** 2, weight)
    smoothed = lambda outputs, targets, smoothing=0.1: jnp.mean((outputs - targets) ** 2) + smoothing
    with pytest.raises(ValueError, match="takes no weight"):
        losses.batch_loss(smoothed, outputs, batch)
    assert losses.batch_loss(per_example, outputs, batch) == losses.batch_loss(weighing, outputs, batch) == 2.5


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: losses.mse(jnp.ones((3, 1)), jnp.ones(3)), "outputs and targets of one shape"),
        (lambda: losses.gaussian_nll((jnp.ones((3, 1)), jnp.ones((3, 1))), jnp.ones(3)), "targets of one shape"),
        (lambda: losses.cross_entropy(LOGITS, jnp.ones(3)), "need integer labels"),
        (lambda: losses.cross_entropy(LOGITS, LABELS[:2]), "need integer labels"),
        (lambda: losses.weighted_mean(jnp.ones(3), jnp.ones(2)), "`weight` .* does not match the leading axes"),
        (
            lambda: losses.batch_loss(lambda o, y: jnp.mean(o - y), jnp.ones(2), Batch(None, jnp.ones(2), jnp.ones(2))),
            "returns a scalar and takes no weight",
        ),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


SCORES, RATINGS = jnp.array([0.2, 0.9, 0.5, 0.1]), jnp.array([3.0, 1.0, 5.0, 4.0])  # ranked: items 1, 2, 0, 3


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_metrics_of_ratings_by_hand(shape):
    scores, ratings = SCORES.reshape(shape), RATINGS.reshape(shape)
    log2 = np.log2
    found, best = 1 + 31 / log2(3) + 7 / log2(4), 31 + 15 / log2(3) + 7 / log2(4)
    assert losses.ndcg(scores, ratings, k=3) == pytest.approx(found / best, rel=1e-6)
    assert losses.ndcg(scores, ratings) == pytest.approx((found + 15 / log2(5)) / (best + 1 / log2(5)), rel=1e-6)
    assert losses.precision(scores, ratings, k=3) == pytest.approx(1 / 3)
    assert losses.precision(scores, ratings, k=3, relevant=3.0) == pytest.approx(2 / 3)
    assert losses.precision(scores, ratings, k=9) == 0.5
    assert losses.mae(scores, ratings) == pytest.approx((2.8 + 0.1 + 4.5 + 3.9) / 4)
    assert losses.rmse(scores, ratings) == pytest.approx(np.sqrt((2.8**2 + 0.1**2 + 4.5**2 + 3.9**2) / 4))
    as_normal = losses.Gaussian(scores, jnp.ones(shape))
    assert losses.ndcg(as_normal, ratings, k=3) == losses.ndcg(scores, ratings, k=3)
    assert losses.mae(as_normal, ratings) == losses.mae(scores, ratings)


def test_an_item_of_weight_zero_is_not_ranked():
    scores, ratings = jnp.append(SCORES, jnp.nan), jnp.append(RATINGS, 5.0)
    weight = jnp.array([1.0, 0.0, 2.0, 1.0, 0.0])  # left: items 2, 0, 3
    log2 = np.log2
    expected = (31 + 7 / log2(3) + 15 / log2(4)) / (31 + 15 / log2(3) + 7 / log2(4))
    assert losses.ndcg(scores, ratings, weight) == pytest.approx(expected, rel=1e-6)
    assert losses.precision(scores, ratings, weight) == pytest.approx(2 / 3)
    assert losses.precision(scores, ratings, 0 * weight) == losses.ndcg(scores, ratings, 0 * weight) == 0
    assert jnp.isnan(losses.ndcg(scores, ratings)) and jnp.isnan(losses.precision(scores, ratings))
    with pytest.raises(ValueError, match="ranks items by one rating each"):
        losses.ndcg(jnp.ones((3, 2)), jnp.ones((3, 2)))
