"""How the three maps of a task convolution run: stock, as matrix products, or one task and block after the other.

Each lowering is a triple: output, input gradient, kernel gradient. Shapes as in `_task_conv`.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from . import _blocks
from ._geometry import Geometry, channels_last, has_tasks, matmul, pad, w_shape, windows, x_shape, y_shape

# Without tasks: the stock convolution; JAX transposes it while lowering.


def dense(x: jax.Array, w: jax.Array, geo: Geometry) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=geo.strides,
        padding=geo.padding,
        lhs_dilation=geo.lhs_dilation,
        rhs_dilation=geo.rhs_dilation,
        dimension_numbers=channels_last(len(geo.size)),
        feature_group_count=geo.groups,
        precision=geo.precision,
    )


def dense_input_grad(y: jax.Array, w: jax.Array, geo: Geometry) -> jax.Array:
    x = jax.ShapeDtypeStruct(x_shape(y, w, geo), y.dtype)
    return jax.linear_transpose(lambda x: dense(x, w, geo), x)(y)[0]


def dense_kernel_grad(x: jax.Array, y: jax.Array, geo: Geometry) -> jax.Array:
    w = jax.ShapeDtypeStruct(w_shape(x, y, geo), y.dtype)
    return jax.linear_transpose(lambda w: dense(x, w, geo), w)(y)[0]


DENSE = (dense, dense_input_grad, dense_kernel_grad)


# With tasks, as patches and matrix products batched over tasks.
#
# A matrix product is batched over the tasks and the groups, which is an axis only where there are several:
# patches p [T, M, (G,) K * C / G], kernels w [T, (G,) K * C / G, O / G], outputs y [T, M, (G,) O / G],
# with the M = N * out outputs and the K taps of the kernel.


def patches(x: jax.Array, geo: Geometry) -> jax.Array:
    p = jnp.stack(windows([pad(x, geo)], range(len(geo.size)), geo), axis=-2)
    t, k, c = p.shape[0], p.shape[-2], p.shape[-1] // geo.groups
    if geo.groups == 1:
        return p.reshape(t, -1, k * c)
    return jnp.swapaxes(p.reshape(t, -1, k, geo.groups, c), 2, 3).reshape(t, -1, geo.groups, k * c)


def flat_outputs(y: jax.Array, geo: Geometry) -> jax.Array:
    groups = () if geo.groups == 1 else (geo.groups,)
    return y.reshape(y.shape[0], -1, *groups, y.shape[-1] // geo.groups)


def flat_kernels(w: jax.Array, geo: Geometry) -> jax.Array:
    if geo.groups == 1:
        return w.reshape(w.shape[0], -1, w.shape[-1])
    return jnp.moveaxis(w.reshape(w.shape[0], -1, geo.groups, w.shape[-1] // geo.groups), 2, 1)


def grouped(spec: str, geo: Geometry) -> str:
    """Leave out the axis of the groups where there is only one."""
    return spec.replace("g", "" if geo.groups == 1 else "g")


def gemm(x: jax.Array, w: jax.Array, geo: Geometry) -> jax.Array:
    y = matmul(grouped("tmgk,tgko->tmgo", geo), patches(x, geo), flat_kernels(w, geo), geo)
    return y.astype(x.dtype).reshape(y_shape(x, w, geo))


def gemm_input_grad(y: jax.Array, w: jax.Array, geo: Geometry) -> jax.Array:
    p = matmul(grouped("tmgo,tgko->tmgk", geo), flat_outputs(y, geo), flat_kernels(w, geo), geo)
    x = jax.ShapeDtypeStruct(x_shape(y, w, geo), p.dtype)
    return jax.linear_transpose(partial(patches, geo=geo), x)(p)[0].astype(y.dtype)


def gemm_kernel_grad(x: jax.Array, y: jax.Array, geo: Geometry) -> jax.Array:
    w = matmul(grouped("tmgk,tmgo->tkgo", geo), patches(x, geo), flat_outputs(y, geo), geo)
    return w.astype(x.dtype).reshape(w_shape(x, y, geo))


GEMM = (gemm, gemm_input_grad, gemm_kernel_grad)


# The choice.

BLOCKS = (_blocks.output, _blocks.input_grad, _blocks.kernel_grad)
CACHE = 2**22  # bytes of patches; measured with 2 MiB of L2 cache per core


def run(platform: str | None, devices: int, i: int, a: jax.Array, b: jax.Array, geo: Geometry) -> jax.Array:
    """Run map ``i`` by the lowering that was set, or by the best one."""
    name = choose(platform, devices, i, a, b, geo) if geo.lowering == "auto" else geo.lowering
    if not has_tasks(a, geo):
        if name == "native":
            return DENSE[i](a, b, geo)
        if name == "gemm" or geo.groups > 1:
            return GEMM[i](a[None], b[None], geo)[0]
        return BLOCKS[i](a, b, geo)
    if name == "native":
        return jax.vmap(partial(DENSE[i], geo=geo))(a, b)
    if name == "gemm":
        return GEMM[i](a, b, geo)
    one = partial(run, platform, devices, i, geo=geo)
    return one(a[0], b[0])[None] if len(a) == 1 else lax.map(lambda task: one(*task), (a, b))


def choose(platform: str | None, devices: int, i: int, a: jax.Array, b: jax.Array, geo: Geometry) -> str:
    """Choose by `benchmarks/task_conv.py`, and by whole meta-gradients.

    With one kernel per task, on a CPU: matrix products while the patches of one task fit into the cache (then two maps
    of the same images also share them), else one task after the other. A loop over tasks would gather what several
    devices share, so those get matrix products. So does a GPU, where they make whole meta-gradients 7 times as fast as
    grouped convolutions (`benchmarks/maml_speed.py`, H100); and all other platforms, by default and not by measurement.

    With one kernel for all, on a CPU: a few images at a time. Kernel gradients always; outputs and input gradients
    where the patches of an image fit into a block, and outputs only of 16 channels or more: elsewhere the stock
    operation, which makes patches in cache by itself, is as fast or faster. It also runs feature groups, and all other
    platforms. The choice does not depend on whether the convolution is inside a loop (`chunk`, `lax.map`): its blocks
    are loops already.
    """
    channels = b.shape[-2] * geo.groups if i == 1 else a.shape[-1]
    if not has_tasks(a, geo):
        if platform != "cpu" or devices > 1 or geo.groups > 1:
            return "native"
        row = math.prod(geo.out) * geo.kernel[-1] * channels * a.dtype.itemsize
        return "loop" if i == 2 or (row <= _blocks.BLOCK and (i == 1 or channels >= 16)) else "native"
    if platform != "cpu" or devices > 1:
        return "gemm"
    size = a.shape[1] * math.prod(geo.out) * math.prod(geo.kernel) * channels * a.dtype.itemsize
    return "gemm" if size <= CACHE else "loop"
