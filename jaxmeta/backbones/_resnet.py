"""Residual networks: the ResNet-12 of few-shot learning and the ResNet-18 of image classification.

ResNet-12 as MetaOptNet (Lee et al., 2019, https://arxiv.org/abs/1904.03758) and RFS (Tian et al., 2020,
https://arxiv.org/abs/2003.11539) use it, without their DropBlock; ResNet-18 of He et al., 2015,
https://arxiv.org/abs/1512.03385.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen

from ..ops import max_pool
from ._initializers import Initializer, initializer


class ResNet12(linen.Module):
    """Four residual blocks of three 3x3 convolutions and max-pooling, ``[N, H, W, C]`` to ``[N, num_outputs]``.

    Leaky ReLU of slope 0.1, BatchNorm after every convolution, and a 1x1 convolution as every block's
    shortcut. Each block halves the map, so images need 16 pixels or more per side. DropBlock, with which both
    papers regularise, is left out.

    Attributes:
      num_outputs: width of ``head``; None returns the embedding.
      widths: channels of the blocks; ``(64, 128, 256, 512)`` is the other common choice.
      flatten: the last map flattened, as in MetaOptNet; by default its mean, as in RFS.
      kernel_init: of the convolutions: see `initializer`.
      head_init: of the head.
      dtype: of the computation; parameters stay float32.

    Example:
      >>> import jax
      >>> net, x = ResNet12(num_outputs=5), jax.numpy.ones((2, 84, 84, 3))
      >>> outputs, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)  # no FLOPs
      >>> outputs.shape, sum(p.size for p in jax.tree.leaves(variables["params"]))
      ((2, 5), 12427525)
    """

    num_outputs: int | None = None
    widths: Sequence[int] = (64, 160, 320, 640)
    flatten: bool = False
    kernel_init: Initializer = "he"
    head_init: Initializer = "xavier"
    dtype: Any = None

    @linen.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool = False) -> jax.Array:
        check_size(x.shape[1:3], self.widths)
        for i, features in enumerate(self.widths):
            block = _Block(
                features,
                depth=3,
                slope=0.1,
                project=True,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"block{i}",
            )
            x = max_pool(block(x, use_running_average))
        x = embed(x, self.flatten)
        if self.num_outputs is None:
            return x
        return linen.Dense(self.num_outputs, kernel_init=initializer(self.head_init), dtype=self.dtype, name="head")(x)


class ResNet18(linen.Module):
    """Eight residual blocks of two 3x3 convolutions in four stages, ``[N, H, W, C]`` to ``[N, num_outputs]``.

    A stem, two blocks a stage, stride 2 at the start of each stage but the first, and the mean over the last map.

    Attributes:
      num_outputs: width of ``head``; None returns the embedding.
      widths: channels of the stages.
      small_images: a 3x3 stem of stride 1 without pooling, for images of about 32 pixels; the standard stem is
        7x7 of stride 2, then 3x3 max-pooling of stride 2.
      kernel_init, head_init, dtype: as for `ResNet12`.

    Example:
      >>> import jax
      >>> net, x = ResNet18(num_outputs=1000), jax.numpy.ones((2, 224, 224, 3))
      >>> outputs, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x)  # no FLOPs
      >>> outputs.shape, sum(p.size for p in jax.tree.leaves(variables["params"]))
      ((2, 1000), 11689512)
    """

    num_outputs: int | None = None
    widths: Sequence[int] = (64, 128, 256, 512)
    small_images: bool = False
    kernel_init: Initializer = "he"
    head_init: Initializer = "xavier"
    dtype: Any = None

    @linen.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool = False) -> jax.Array:
        size, strides = stem(self.small_images)
        x = linen.Conv(
            self.widths[0],
            (size, size),
            strides,
            padding=size // 2,
            use_bias=False,
            kernel_init=initializer(self.kernel_init),
            dtype=self.dtype,
            name="stem",
        )(x)
        x = linen.relu(linen.BatchNorm(use_running_average, momentum=0.9, dtype=self.dtype, name="stem_norm")(x))
        x = pool_stem(x, self.small_images)
        for i, (fan_in, features, strides) in enumerate(stages(self.widths)):
            project = strides != 1 or fan_in != features
            block = _Block(
                features,
                strides=strides,
                project=project,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"block{i}",
            )
            x = block(x, use_running_average)
        x = embed(x)
        if self.num_outputs is None:
            return x
        return linen.Dense(self.num_outputs, kernel_init=initializer(self.head_init), dtype=self.dtype, name="head")(x)


class _Block(linen.Module):
    """``depth`` 3x3 convolutions with BatchNorm, beside the identity or a 1x1 convolution."""

    features: int
    depth: int = 2
    strides: int = 1
    slope: float = 0.0
    project: bool = False
    kernel_init: Initializer = "he"
    dtype: Any = None

    @linen.compact
    def __call__(self, x: jax.Array, use_running_average: bool) -> jax.Array:
        def conv(x: jax.Array, size: int, strides: int, name: str, norm_name: str) -> jax.Array:
            x = linen.Conv(
                self.features,
                (size, size),
                strides,
                padding=size // 2,
                use_bias=False,
                kernel_init=initializer(self.kernel_init),
                dtype=self.dtype,
                name=name,
            )(x)
            return linen.BatchNorm(use_running_average, momentum=0.9, dtype=self.dtype, name=norm_name)(x)

        y = x
        for i in range(self.depth):
            y = linen.leaky_relu(y, self.slope) if i else y
            y = conv(y, 3, 1 if i else self.strides, f"conv{i}", f"norm{i}")
        x = conv(x, 1, self.strides, "shortcut", "shortcut_norm") if self.project else x
        return linen.leaky_relu(x + y, self.slope)


def stages(widths: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return ``(fan_in, features, strides)`` of each block of a ResNet-18: two a stage."""
    blocks: list[tuple[int, int, int]] = []
    for i, features in enumerate(widths):
        blocks += [(widths[max(i - 1, 0)], features, 2 if i else 1), (features, features, 1)]
    return blocks


def stem(small_images: bool) -> tuple[int, int]:
    """Return kernel size and stride of the stem."""
    return (3, 1) if small_images else (7, 2)


def pool_stem(x: jax.Array, small_images: bool) -> jax.Array:
    around: Any = ((1, 1), (1, 1))  # flax annotates the string alone
    return x if small_images else linen.max_pool(x, (3, 3), (2, 2), around)


def embed(x: jax.Array, flatten: bool = False) -> jax.Array:
    return x.reshape(x.shape[0], math.prod(x.shape[1:])) if flatten else x.mean((1, 2))


def check_size(size: Sequence[int], widths: Sequence[int]) -> None:
    if min(size) < 2 ** len(widths):
        raise ValueError(
            f"Images of {size[0]} x {size[1]} pixels vanish in {len(widths)} blocks that each halve them; "
            f"ResNet-12 needs {2 ** len(widths)} or more per side. Enlarge the images, or give fewer `widths`."
        )
