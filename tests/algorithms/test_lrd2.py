"""LR-D2: one-against-the-rest logistic regression, beside Newton's method written out in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta.algorithms._fitted_head import root
from jaxmeta.algorithms._lrd2 import irls

sigmoid = lambda m: 1 / (1 + np.exp(-m))


@pytest.mark.parametrize("shape", [(4, 7), (8, 3)], ids=["Woodbury", "direct"])
@pytest.mark.parametrize("num_steps", [1, 4])
@pytest.mark.usefixtures("x64")
def test_newton_steps(shape, num_steps):
    """Every iterate, not only the optimum, is Newton's."""
    rng = np.random.default_rng(2)
    x, sign = rng.normal(size=shape), np.sign(rng.normal(size=shape[0]))
    weight, strength = rng.uniform(0.5, 2, size=shape[0]), 0.4
    w = np.zeros(shape[1])
    for _ in range(num_steps):
        m = x @ w
        gradient = strength * w - x.T @ (weight * sign * sigmoid(-sign * m))
        hessian = strength * np.eye(shape[1]) + x.T @ ((weight * sigmoid(m) * sigmoid(-m))[:, None] * x)
        w = w - np.linalg.solve(hessian, gradient)
    ours, residual = irls(jnp.asarray(x), jnp.asarray(sign), jnp.asarray(weight), strength, num_steps)
    np.testing.assert_allclose(ours, w, rtol=1e-10)
    expected = np.abs(strength * w - x.T @ (weight * sign * sigmoid(-sign * (x @ w)))).max()
    np.testing.assert_allclose(residual, expected, rtol=1e-6, atol=1e-14)


def test_separable_and_large_features_stay_finite():
    x = 1e3 * jnp.array([[1.0], [-1.0]])
    w, residual = irls(x, jnp.array([1.0, -1.0]), jnp.ones(2), 1e-3, 10)
    assert bool(jnp.isfinite(w).all()) and bool(jnp.isfinite(residual))


def test_root_has_a_derivative_at_zero():
    import jax

    np.testing.assert_array_equal(jax.grad(lambda w: root(w).sum())(jnp.array([4.0, 0.0])), [0.25, 0.0])


def test_bad_arguments():
    embedding = jm.from_functions(lambda key, x: (), lambda variables, x: x)
    with pytest.raises(ValueError, match="`num_steps` must be >= 1, got 0"):
        jm.lrd2(embedding, num_steps=0)
    with pytest.raises(ValueError, match="`init_lambda` must be > 0, got -1"):
        jm.lrd2(embedding, init_lambda=-1)
