"""Multilayer perceptrons: 40-40 for sinusoids, 256-128-64-64 with BatchNorm for Omniglot (the MAML paper)."""

import math
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen, nnx

from ._initializers import Initializer, initializer


class MLP(linen.Module):
    """Dense layers with ReLU, on flattened inputs.

    Attributes:
      features: widths of the hidden layers.
      num_outputs: width of ``head``; None returns the last hidden layer.
      norm: BatchNorm before each ReLU; the dense layer then has no bias.
      kernel_init: see `initializer`.
      dtype: of the computation; parameters stay float32.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> net = MLP((40, 40), num_outputs=1)
      >>> net.apply(net.init(jax.random.key(0), jnp.ones((5, 1))), jnp.ones((5, 1))).shape
      (5, 1)
    """

    features: Sequence[int] = (40, 40)
    num_outputs: int | None = None
    norm: bool = False
    kernel_init: Initializer = "he"
    dtype: Any = None

    @linen.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool = False) -> jax.Array:
        init = initializer(self.kernel_init)
        x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        for i, width in enumerate(self.features):
            x = linen.Dense(width, use_bias=not self.norm, kernel_init=init, dtype=self.dtype, name=f"dense{i}")(x)
            if self.norm:
                x = linen.BatchNorm(use_running_average, momentum=0.9, dtype=self.dtype, name=f"norm{i}")(x)
            x = linen.relu(x)
        if self.num_outputs is None:
            return x
        return linen.Dense(self.num_outputs, kernel_init=init, dtype=self.dtype, name="head")(x)


class NnxMLP(nnx.Module):
    """`MLP` as an nnx module.

    Args:
      in_features: size of a flattened input.
      features, num_outputs, norm, kernel_init, dtype: as for `MLP`.

    Example:
      >>> import jax.numpy as jnp
      >>> NnxMLP(1, (40, 40), num_outputs=1, rngs=nnx.Rngs(0))(jnp.ones((5, 1))).shape
      (5, 1)
    """

    def __init__(
        self,
        in_features: int,
        features: Sequence[int] = (40, 40),
        num_outputs: int | None = None,
        *,
        norm: bool = False,
        kernel_init: Initializer = "he",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        init, widths = initializer(kernel_init), (in_features, *features)
        for i, (fan_in, width) in enumerate(zip(widths, features, strict=False)):
            dense = nnx.Linear(fan_in, width, use_bias=not norm, kernel_init=init, dtype=dtype, rngs=rngs)
            setattr(self, f"dense{i}", dense)
            if norm:
                setattr(self, f"norm{i}", nnx.BatchNorm(width, momentum=0.9, dtype=dtype, rngs=rngs))
        if num_outputs is not None:
            self.head = nnx.Linear(widths[-1], num_outputs, kernel_init=init, dtype=dtype, rngs=rngs)
        self.depth, self.norm, self.has_head = len(features), norm, num_outputs is not None

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        for i in range(self.depth):
            x = getattr(self, f"dense{i}")(x)
            x = getattr(self, f"norm{i}")(x) if self.norm else x
            x = nnx.relu(x)
        return self.head(x) if self.has_head else x
