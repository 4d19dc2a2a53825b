"""MetaOptNet's support vector machine: by hand, beside an independent solver, hard cases, second derivatives."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import jaxmeta as jm
from jaxmeta.algorithms._metaoptnet import crammer_singer

EMBEDDING = jm.from_functions(lambda key, x: (), lambda variables, x: x)


def solve(z, labels, ways, C, damping, weight=None):
    weight = jnp.ones(len(z)) if weight is None else jnp.asarray(weight)
    y = jax.nn.one_hot(jnp.asarray(labels), ways, dtype=jnp.asarray(z).dtype)
    return crammer_singer(jnp.asarray(z), y, weight, C=C, damping=damping, num_steps=15)


@pytest.mark.usefixtures("x64")
def test_two_points_by_hand():
    """Points 1 and -1 of two classes: alpha = (t, -t), w = (2t, -2t), the dual 2t - 4t^2 - t^2, t = min(C, 1/5)."""
    for C, t in ((0.1, 0.1), (1.0, 0.2)):
        alpha, residual = solve([[1.0], [-1.0]], [0, 1], 2, C, damping=0.5)
        np.testing.assert_allclose(alpha, [[t, -t], [-t, t]], rtol=1e-12)
        assert residual < 1e-14


@pytest.mark.usefixtures("x64")
def test_an_independent_solver_of_the_primal_finds_no_better():
    """SciPy's SLSQP on weights and slacks, with per-example weights."""
    rng = np.random.default_rng(0)
    z, labels, weight, C = rng.normal(size=(6, 2)), np.array([0, 0, 1, 1, 2, 2]), rng.uniform(0.5, 2, 6), 0.3
    y, others = np.eye(3)[labels], np.array([[k for k in range(3) if k != label] for label in labels])
    alpha, residual = solve(z, labels, 3, C, 1e-9, weight)  # nine of eighteen directions are flat without any damping
    weights = z.T @ np.asarray(alpha)

    def primal(v):
        return (v[:6] ** 2).sum() / 2 + C * weight @ v[6:]

    def margins(v):
        scores = z @ v[:6].reshape(2, 3)
        own = scores[np.arange(6), labels]
        return np.concatenate([(own[:, None] - np.take_along_axis(scores, others, 1) - 1 + v[6:, None]).ravel(), v[6:]])

    tight = {"method": "SLSQP", "options": {"ftol": 1e-14, "maxiter": 500}}
    best = minimize(primal, np.r_[np.zeros(6), np.ones(6)], constraints={"type": "ineq", "fun": margins}, **tight)
    assert best.success and residual < 1e-8, best
    np.testing.assert_allclose(weights.ravel(), best.x[:6], atol=1e-5)
    slack = np.maximum(0, (1 - y + z @ weights - (z @ weights * y).sum(1, keepdims=True)).max(1))
    assert primal(np.r_[weights.ravel(), slack]) <= best.fun + 1e-7


def test_hard_cases_stay_optimal_in_float32():
    """Copies with different labels, more examples than features, large features."""
    keys = jax.random.split(jax.random.key(0), 64)

    def residual(key):
        z = jax.random.normal(key, (6, 3))
        z = z.at[3].set(z[0]) * jnp.exp(3 * jax.random.normal(key, ()))
        y = jax.nn.one_hot(jnp.array([0, 0, 1, 1, 2, 2]), 3)
        return crammer_singer(z, y, jnp.ones(6), C=0.1, damping=1.0, num_steps=15)[1] / (1 + 0.1 * (z @ z.T).max())

    assert float(jax.jit(jax.vmap(residual))(keys).max()) < 1e-6  # rounding, on the scale of the matrix


@pytest.mark.usefixtures("x64")
def test_second_derivatives():
    """No derivative passes qpax, so any order and mode is there: a Hessian by finite differences of the gradient."""
    z = np.random.default_rng(3).normal(size=(4, 5))
    f = lambda s: (jnp.asarray(z).T @ solve(s * z, [0, 0, 1, 1], 2, 0.5, 0.1)[0]).sum(0) @ jnp.array([1.0, 2.0]) ** 2
    g = jax.jit(jax.grad(f))
    second = jax.jit(jax.jacfwd(jax.grad(f)))(1.1)
    assert abs(float(second)) > 1e-3
    np.testing.assert_allclose(second, (g(1.1 + 1e-5) - g(1.1 - 1e-5)) / 2e-5, rtol=1e-6)


def test_without_qpax_the_error_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        sys.modules["jaxmeta.algorithms._metaoptnet"], "find_spec", lambda name: None if name == "qpax" else find(name)
    )
    with pytest.raises(ImportError, match="pip install qpax"):
        jm.metaoptnet(EMBEDDING)
    jm.metaoptnet(EMBEDDING, head="ridge")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"head": "tree"}, "`head`"),
        ({"C": 0.0}, "`C`"),
        ({"damping": -1.0}, "damping=-1"),
        ({"qp_steps": 0}, "`qp_steps`"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        jm.metaoptnet(EMBEDDING, **options)
