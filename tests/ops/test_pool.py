"""`ops.max_pool` is the stock max-pooling, with its derivatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.ops import max_pool


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape, window", [((2, 7, 6, 3), (2, 2)), ((2, 7, 9, 3), (2, 3)), ((2, 5, 3), (2,))])
def test_it_is_the_stock_pooling(shape, window):
    x, v = (jax.random.normal(key, shape, jnp.float64) for key in jax.random.split(jax.random.key(0)))

    def derivatives(pool):
        loss = lambda x: jnp.sum(jnp.sin(pool(x)) * pool(x))
        return loss(x), *jax.jvp(jax.grad(loss), (x,), (v,))

    ours, stock = derivatives(lambda x: max_pool(x, window)), derivatives(lambda x: nn.max_pool(x, window, window))
    for a, b in zip(ours, stock, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_nan_is_not_lost():
    assert jnp.isnan(max_pool(jnp.array([[[jnp.nan], [1.0]]]), (2,))).all()
    assert jnp.isnan(max_pool(jnp.array([[[1.0], [jnp.nan]]]), (2,))).all()
