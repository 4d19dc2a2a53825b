"""ResNet-12 and ResNet-18 as nnx modules: see `_resnet`."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from ..ops import max_pool
from ._initializers import Initializer, initializer
from ._resnet import check_size, embed, pool_stem, stages, stem


class NnxResNet12(nnx.Module):
    """`ResNet12` as an nnx module.

    Args:
      image_shape: ``(H, W, C)`` of the inputs.
      num_outputs, widths, flatten, kernel_init, head_init, dtype: as for `ResNet12`.

    Example:
      >>> import jax
      >>> build = lambda: NnxResNet12((84, 84, 3), num_outputs=5, rngs=nnx.Rngs(0))
      >>> nnx.eval_shape(build).head.kernel.shape
      (640, 5)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: int | None = None,
        *,
        widths: Sequence[int] = (64, 160, 320, 640),
        flatten: bool = False,
        kernel_init: Initializer = "he",
        head_init: Initializer = "xavier",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        check_size(image_shape[:2], widths)
        height, width, fan_in = image_shape
        for i, features in enumerate(widths):
            block = _NnxBlock(
                fan_in,
                features,
                depth=3,
                slope=0.1,
                project=True,
                kernel_init=kernel_init,
                dtype=dtype,
                rngs=rngs,
            )
            setattr(self, f"block{i}", block)
            fan_in = features
        self.num_blocks, self.flatten, self.has_head = len(widths), flatten, num_outputs is not None
        if num_outputs is not None:
            shrink = 2 ** len(widths)
            size = fan_in * (height // shrink) * (width // shrink) if flatten else fan_in
            self.head = nnx.Linear(size, num_outputs, kernel_init=initializer(head_init), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.num_blocks):
            x = max_pool(getattr(self, f"block{i}")(x))
        x = embed(x, self.flatten)
        return self.head(x) if self.has_head else x


class NnxResNet18(nnx.Module):
    """`ResNet18` as an nnx module.

    Args:
      image_shape: ``(H, W, C)`` of the inputs.
      num_outputs, widths, small_images, kernel_init, head_init, dtype: as for `ResNet18`.

    Example:
      >>> import jax
      >>> build = lambda: NnxResNet18((224, 224, 3), num_outputs=5, rngs=nnx.Rngs(0))
      >>> nnx.eval_shape(build).head.kernel.shape
      (512, 5)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: int | None = None,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        small_images: bool = False,
        kernel_init: Initializer = "he",
        head_init: Initializer = "xavier",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        size, strides = stem(small_images)
        self.stem = nnx.Conv(
            image_shape[-1],
            widths[0],
            (size, size),
            strides,
            padding=size // 2,
            use_bias=False,
            kernel_init=initializer(kernel_init),
            dtype=dtype,
            rngs=rngs,
        )
        self.stem_norm = nnx.BatchNorm(widths[0], momentum=0.9, dtype=dtype, rngs=rngs)
        blocks = stages(widths)
        for i, (fan_in, features, strides) in enumerate(blocks):
            project = strides != 1 or fan_in != features
            block = _NnxBlock(
                fan_in,
                features,
                strides=strides,
                project=project,
                kernel_init=kernel_init,
                dtype=dtype,
                rngs=rngs,
            )
            setattr(self, f"block{i}", block)
        self.num_blocks, self.small_images, self.has_head = len(blocks), small_images, num_outputs is not None
        if num_outputs is not None:
            self.head = nnx.Linear(widths[-1], num_outputs, kernel_init=initializer(head_init), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = pool_stem(nnx.relu(self.stem_norm(self.stem(x))), self.small_images)
        for i in range(self.num_blocks):
            x = getattr(self, f"block{i}")(x)
        x = embed(x)
        return self.head(x) if self.has_head else x


class _NnxBlock(nnx.Module):
    """`_Block` as an nnx module."""

    def __init__(
        self,
        fan_in: int,
        features: int,
        *,
        depth: int = 2,
        strides: int = 1,
        slope: float = 0.0,
        project: bool = False,
        kernel_init: Initializer = "he",
        dtype: Any = None,
        rngs: nnx.Rngs,
    ):
        def conv(fan_in: int, size: int, strides: int) -> tuple[nnx.Conv, nnx.BatchNorm]:
            layer = nnx.Conv(
                fan_in,
                features,
                (size, size),
                strides,
                padding=size // 2,
                use_bias=False,
                kernel_init=initializer(kernel_init),
                dtype=dtype,
                rngs=rngs,
            )
            return layer, nnx.BatchNorm(features, momentum=0.9, dtype=dtype, rngs=rngs)

        for i in range(depth):
            layers = conv(features, 3, 1) if i else conv(fan_in, 3, strides)
            for name, layer in zip((f"conv{i}", f"norm{i}"), layers, strict=True):
                setattr(self, name, layer)
        if project:
            self.shortcut, self.shortcut_norm = conv(fan_in, 1, strides)
        self.depth, self.slope, self.project = depth, slope, project

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        for i in range(self.depth):
            y = nnx.leaky_relu(y, self.slope) if i else y
            y = getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(y))
        x = self.shortcut_norm(self.shortcut(x)) if self.project else x
        return nnx.leaky_relu(x + y, self.slope)
