"""The networks of relation networks: maps of images, and a judge of pairs of maps."""

from typing import Any

import jax
from flax import linen

from ..ops import max_pool


class Maps(linen.Module):
    """The embedding, images ``[N, 28, 28, 1]`` to maps ``[N, 5, 5, features]``."""

    features: int
    dtype: Any = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = max_pool(_block(x, self.features, "VALID", self.dtype))
        return _block(_block(x, self.features, "SAME", self.dtype), self.features, "SAME", self.dtype)


class Judge(linen.Module):
    """Pairs of maps ``[P, 5, 5, 2 * features]`` to scores ``[P, 1]``."""

    features: int
    dtype: Any = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = max_pool(_block(x, self.features, "SAME", self.dtype))
        x = linen.relu(linen.Dense(8, dtype=self.dtype)(x.reshape(x.shape[0], -1)))
        return linen.Dense(1, dtype=self.dtype)(x)


def _block(x: jax.Array, features: int, padding: str, dtype: Any) -> jax.Array:
    x = linen.Conv(features, (3, 3), padding=padding, use_bias=False, dtype=dtype)(x)
    return linen.relu(linen.BatchNorm(dtype=dtype)(x))
