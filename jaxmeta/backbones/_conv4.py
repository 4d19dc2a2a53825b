"""Four convolutional blocks: the few-shot literature's network.

With strides and a mean over the last map as MAML uses it on Omniglot (Finn et al., 2017,
https://arxiv.org/abs/1703.03400), with max-pooling and a flat embedding as in matching and prototypical
networks and on miniImageNet (Vinyals et al., 2016, https://arxiv.org/abs/1606.04080).
"""

import math
from typing import Any, Literal

import jax
from flax import linen, nnx

from ..ops import max_pool
from ._initializers import Initializer, initializer

Pool = Literal["stride", "max"]
BLOCKS = 4


class Conv4(linen.Module):
    """Four blocks of 3x3 convolution, BatchNorm and ReLU, images ``[N, H, W, C]`` to ``[N, num_outputs]``.

    The convolutions have no bias, because BatchNorm follows: its true gradient would be zero.

    Attributes:
      num_outputs: width of ``head``; None returns the embedding.
      features: channels.
      pool: ``"stride"``: convolutions of stride 2 and the mean over the last map; ``"max"``: 2x2 max-pooling
        after each block, and the last map flattened.
      kernel_init: of the convolutions: see `initializer`.
      scale_init: of BatchNorm's scale.
      head_init: of the head.
      dtype: of the computation; parameters stay float32.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> net, x = Conv4(num_outputs=5, pool="max"), jnp.ones((2, 28, 28, 1))
      >>> outputs, variables = jax.jit(net.init_with_output)(jax.random.key(0), x)
      >>> outputs.shape
      (2, 5)
    """

    num_outputs: int | None = None
    features: int = 64
    pool: Pool = "stride"
    kernel_init: Initializer = "xavier"
    scale_init: Initializer = "ones"
    head_init: Initializer = "xavier"
    dtype: Any = None

    @linen.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool = False) -> jax.Array:
        _check_pool(self.pool)
        strides, init = 2 if self.pool == "stride" else 1, initializer(self.kernel_init)
        for i in range(BLOCKS):
            x = linen.Conv(
                self.features,
                (3, 3),
                strides,
                use_bias=False,
                kernel_init=init,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
            x = linen.BatchNorm(
                use_running_average,
                momentum=0.9,
                scale_init=initializer(self.scale_init),
                dtype=self.dtype,
                name=f"norm{i}",
            )(x)
            x = linen.relu(_shrink(x, self.pool))
        x = _embed(x, self.pool)
        if self.num_outputs is None:
            return x
        return linen.Dense(self.num_outputs, kernel_init=initializer(self.head_init), dtype=self.dtype, name="head")(x)


class NnxConv4(nnx.Module):
    """`Conv4` as an nnx module.

    Args:
      image_shape: ``(H, W, C)`` of the inputs.
      num_outputs, features, pool, kernel_init, scale_init, head_init, dtype: as for `Conv4`.

    Example:
      >>> import jax.numpy as jnp
      >>> NnxConv4((28, 28, 1), num_outputs=5, rngs=nnx.Rngs(0))(jnp.ones((2, 28, 28, 1))).shape
      (2, 5)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: int | None = None,
        *,
        features: int = 64,
        pool: Pool = "stride",
        kernel_init: Initializer = "xavier",
        scale_init: Initializer = "ones",
        head_init: Initializer = "xavier",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        _check_pool(pool)
        height, width, channels = image_shape
        strides, init = 2 if pool == "stride" else 1, initializer(kernel_init)
        for i in range(BLOCKS):
            conv = nnx.Conv(
                features if i else channels,
                features,
                (3, 3),
                strides,
                use_bias=False,
                kernel_init=init,
                dtype=dtype,
                rngs=rngs,
            )
            norm = nnx.BatchNorm(features, momentum=0.9, scale_init=initializer(scale_init), dtype=dtype, rngs=rngs)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"norm{i}", norm)
        if num_outputs is not None:
            size = features if pool == "stride" else features * (height // 2**BLOCKS) * (width // 2**BLOCKS)
            self.head = nnx.Linear(size, num_outputs, kernel_init=initializer(head_init), dtype=dtype, rngs=rngs)
        self.pool: Pool = pool
        self.has_head = num_outputs is not None

    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(BLOCKS):
            x = getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(x))
            x = nnx.relu(_shrink(x, self.pool))
        x = _embed(x, self.pool)
        return self.head(x) if self.has_head else x


def _shrink(x: jax.Array, pool: Pool) -> jax.Array:
    """Pool before the ReLU, with which pooling commutes: the ReLU then has a quarter of the work."""
    return max_pool(x) if pool == "max" else x


def _embed(x: jax.Array, pool: Pool) -> jax.Array:
    return x.mean((1, 2)) if pool == "stride" else x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _check_pool(pool: str) -> None:
    if pool not in ("stride", "max"):
        raise ValueError(f"`pool` must be 'stride' or 'max', got {pool!r}.")
