"""The static side of a task convolution: what the three maps and the stock convolution have in common."""

from typing import Any, NamedTuple

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
    spatial = tuple(range(1, rank + 1))
    images = (0, rank + 1, *spatial)
    return lax.ConvDimensionNumbers(images, (rank + 1, rank, *range(rank)), images)


def has_tasks(a, geo: Geometry) -> bool:
    return a.ndim == len(geo.size) + 3


def y_shape(x, w, geo):
    return (*x.shape[: -len(geo.size) - 1], *geo.out, w.shape[-1])


def x_shape(y, w, geo):
    return (*y.shape[: -len(geo.size) - 1], *geo.size, w.shape[-2] * geo.groups)


def w_shape(x, y, geo):
    return (*x.shape[: -len(geo.size) - 2], *geo.kernel, x.shape[-1] // geo.groups, y.shape[-1])
