"""The static side of a task convolution: what the three maps and the stock convolution have in common."""

from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Geometry(NamedTuple):
    """The static side of the three maps, and of the stock convolution they generalise."""

    size: tuple[int, ...]  # of x
    kernel: tuple[int, ...]  # of w
    out: tuple[int, ...]  # of y
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    groups: int
    precision: Any
    lowering: str


def channels_last(rank: int) -> lax.ConvDimensionNumbers:
    """Return the layout ``NHWC, HWIO, NHWC`` for any number of spatial dimensions."""
    spatial = tuple(range(1, rank + 1))
    images = (0, rank + 1, *spatial)
    return lax.ConvDimensionNumbers(images, (rank + 1, rank, *range(rank)), images)


def has_tasks(a: jax.Array, geo: Geometry) -> bool:
    """Tell whether an array has a task axis."""
    return a.ndim == len(geo.size) + 3


def y_shape(x: jax.Array, w: jax.Array, geo: Geometry) -> tuple[int, ...]:
    """Return the shape of the outputs."""
    return (*x.shape[: -len(geo.size) - 1], *geo.out, w.shape[-1])


def x_shape(y: jax.Array, w: jax.Array, geo: Geometry) -> tuple[int, ...]:
    """Return the shape of the images."""
    return (*y.shape[: -len(geo.size) - 1], *geo.size, w.shape[-2] * geo.groups)


def w_shape(x: jax.Array, y: jax.Array, geo: Geometry) -> tuple[int, ...]:
    """Return the shape of the kernels."""
    return (*x.shape[: -len(geo.size) - 2], *geo.kernel, x.shape[-1] // geo.groups, y.shape[-1])


def pad(x: jax.Array, geo: Geometry) -> jax.Array:
    """Pad and dilate images ``[..., *size, C]``."""
    pads = [(lo, hi, d - 1) for (lo, hi), d in zip(geo.padding, geo.lhs_dilation, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), [*[(0, 0, 0)] * (x.ndim - len(pads) - 1), *pads, (0, 0, 0)])


def taps(x: jax.Array, axis: int, geo: Geometry) -> list[jax.Array]:
    """Return the part of padded images that each tap of the kernel along one spatial axis meets."""
    size, dilation, stride = geo.out[axis], geo.rhs_dilation[axis], geo.strides[axis]
    dimension = x.ndim - len(geo.size) - 1 + axis
    starts = [i * dilation for i in range(geo.kernel[axis])]
    return [lax.slice_in_dim(x, i, i + (size - 1) * stride + 1, stride, dimension) for i in starts]


def windows(parts: list[jax.Array], axes: Iterable[int], geo: Geometry) -> list[jax.Array]:
    """Return the taps along several axes of every part; the last axis varies fastest."""
    return reduce(lambda parts, axis: [tap for part in parts for tap in taps(part, axis, geo)], axes, parts)


def matmul(spec: str, a: jax.Array, b: jax.Array, geo: Geometry) -> jax.Array:
    """Multiply as `jnp.einsum` does; accumulate half precision in float32."""
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(spec, a, b, precision=geo.precision, preferred_element_type=wide)
