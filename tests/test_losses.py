"""Losses, weights and metrics."""

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


def test_values_without_weight_may_be_nan():
    assert losses.weighted_mean(jnp.array([1.0, jnp.nan]), jnp.array([1.0, 0.0])) == 1.0


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
