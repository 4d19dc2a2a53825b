"""TaskNorm by NumPy, from the moments themselves; queries are normalised by the support set and apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import jaxmeta as jm
from jaxmeta.types import Variables

pytestmark = pytest.mark.usefixtures("x64")


def by_hand(x, of, alpha, p):
    """Of the moments of ``of`` and of each example, without the detour of normalised values."""
    places = tuple(range(1, x.ndim - 1))
    m, v = of.mean((0, *places)), of.var((0, *places)) + 1e-5
    if not places:  # over features, whose scales differ: of normalised values
        x, m, v = (x - m) / np.sqrt(v), np.zeros(x.shape[-1]), np.ones(x.shape[-1])
    own, spread = (moment(x, places or (-1,), keepdims=True) for moment in (np.mean, np.var))
    mean = alpha * m + (1 - alpha) * own
    variance = alpha * (v + (m - mean) ** 2) + (1 - alpha) * (spread + (own - mean) ** 2)
    return (x - mean) / np.sqrt(variance) * p["scale"] + p["bias"]


@pytest.mark.parametrize("shape", [(4, 4, 2), (3,)])
def test_numpy_reference(shape):
    rng = np.random.default_rng(0)
    support, query = 3 + 2 * rng.normal(size=(5, *shape)), rng.normal(size=(6, *shape))
    model = jm.from_linen(jm.backbones.TaskNorm(init_blend=0.4, epsilon=0.0), norm="support")
    variables = model.init(jax.random.key(0), jnp.array(support))
    params = variables.params | {name: jnp.array(rng.normal(size=shape[-1])) for name in ("scale", "bias")}
    p, alpha = jax.tree.map(np.asarray, params), 1 / (1 + np.exp(-0.4))
    out, state = model.apply_support(Variables(params, variables.state), jnp.array(support), train=True)
    np.testing.assert_allclose(out, by_hand(support, support, alpha, p), atol=1e-6)
    found = model.apply(Variables(params, state), jnp.array(query), train=True)[0]
    np.testing.assert_allclose(found, by_hand(query, support, alpha, p), atol=1e-6)
    alone = model.apply(Variables(params, state), jnp.array(query[:1]), train=True)[0]
    np.testing.assert_allclose(alone, found[:1], rtol=1e-12)


def test_hidden_examples_reach_no_moment():
    x = jnp.array(np.random.default_rng(0).normal(size=(5, 3, 3, 2)))
    model = jm.from_linen(linen.Sequential([jm.backbones.TaskNorm()]), norm="support")
    variables = model.init(jax.random.key(0), x)
    weight = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0])
    states = [
        model.apply_support(variables, x, train=True, weight=weight)[1],
        model.apply_support(variables, x[:3], train=True)[1],
    ]
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
