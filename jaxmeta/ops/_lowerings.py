"""How the three maps of a task convolution run: stock, as matrix products, or one task after the other.

Each lowering is a triple: output, input gradient, kernel gradient. Shapes as in `_task_conv`.
"""

import math
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from ._geometry import Geometry, channels_last, w_shape, x_shape, y_shape

# Without tasks: the stock convolution; JAX transposes it while lowering.


def dense(x, w, geo: Geometry):
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


def dense_input_grad(y, w, geo: Geometry):
    x = jax.ShapeDtypeStruct(x_shape(y, w, geo), y.dtype)
    return jax.linear_transpose(lambda x: dense(x, w, geo), x)(y)[0]


def dense_kernel_grad(x, y, geo: Geometry):
    w = jax.ShapeDtypeStruct(w_shape(x, y, geo), y.dtype)
    return jax.linear_transpose(lambda w: dense(x, w, geo), w)(y)[0]


DENSE = (dense, dense_input_grad, dense_kernel_grad)


# With tasks, as patches and matrix products batched over tasks.


def windows(x, geo: Geometry):
    """For each tap of the kernel the part of x that it meets, [T, N, *out, C]."""
    pads = [(lo, hi, d - 1) for (lo, hi), d in zip(geo.padding, geo.lhs_dilation, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), *pads, (0, 0, 0)])
    for tap in product(*map(range, geo.kernel)):
        start = [i * d for i, d in zip(tap, geo.rhs_dilation, strict=True)]
        stop = [i + (n - 1) * s + 1 for i, n, s in zip(start, geo.out, geo.strides, strict=True)]
        yield x[:, :, *map(slice, start, stop, geo.strides)]


# A matrix product batched over the tasks and the groups, which is an axis only where there are several:
# patches p [T, M, (G,) K * C / G], kernels w [T, (G,) K * C / G, O / G], outputs y [T, M, (G,) O / G],
# with the M = N * out outputs and the K taps of the kernel.


def patches(x, geo: Geometry):
    p = jnp.stack(list(windows(x, geo)), axis=-2)
    t, k, c = p.shape[0], p.shape[-2], p.shape[-1] // geo.groups
    if geo.groups == 1:
        return p.reshape(t, -1, k * c)
    return jnp.swapaxes(p.reshape(t, -1, k, geo.groups, c), 2, 3).reshape(t, -1, geo.groups, k * c)


def flat_outputs(y, geo: Geometry):
    groups = () if geo.groups == 1 else (geo.groups,)
    return y.reshape(y.shape[0], -1, *groups, y.shape[-1] // geo.groups)


def flat_kernels(w, geo: Geometry):
    if geo.groups == 1:
        return w.reshape(w.shape[0], -1, w.shape[-1])
    return jnp.moveaxis(w.reshape(w.shape[0], -1, geo.groups, w.shape[-1] // geo.groups), 2, 1)


def matmul(spec, a, b, geo: Geometry):
    """Half precision is accumulated in float32."""
    wide = jnp.promote_types(a.dtype, jnp.float32)
    spec = spec.replace("g", "" if geo.groups == 1 else "g")
    return jnp.einsum(spec, a, b, precision=geo.precision, preferred_element_type=wide)


def gemm(x, w, geo: Geometry):
    y = matmul("tmgk,tgko->tmgo", patches(x, geo), flat_kernels(w, geo), geo)
    return y.astype(x.dtype).reshape(y_shape(x, w, geo))


def gemm_input_grad(y, w, geo: Geometry):
    p = matmul("tmgo,tgko->tmgk", flat_outputs(y, geo), flat_kernels(w, geo), geo)
    x = jax.ShapeDtypeStruct(x_shape(y, w, geo), p.dtype)
    return jax.linear_transpose(partial(patches, geo=geo), x)(p)[0].astype(y.dtype)


def gemm_kernel_grad(x, y, geo: Geometry):
    w = matmul("tmgk,tmgo->tkgo", patches(x, geo), flat_outputs(y, geo), geo)
    return w.astype(x.dtype).reshape(w_shape(x, y, geo))


GEMM = (gemm, gemm_input_grad, gemm_kernel_grad)


# With tasks, one after the other: the best that XLA does for a single one on a CPU. Its own convolution
# makes patches in cache, at the speed of matrix products; but not with a reversed window, which is what
# an input gradient is, nor with a window of the size of the image, a kernel gradient.


def one_input_grad(y, w, geo: Geometry):
    """With stride 1 the dense convolution of `y` with the kernel turned around."""
    if geo.groups > 1 or set(geo.strides) != {1}:
        return gemm_input_grad(y[None], w[None], geo)[0]
    w = lax.optimization_barrier(jnp.flip(w, range(len(geo.size))))  # else XLA reverses the window again
    padding = []
    for i, (lo, _) in enumerate(geo.padding):
        full = (geo.size[i] - 1) * geo.lhs_dilation[i] + 1
        reach = (geo.kernel[i] - 1) * geo.rhs_dilation[i]
        padding.append((reach - lo, full + lo - geo.out[i]))
    turned = geo._replace(padding=tuple(padding), strides=geo.lhs_dilation, lhs_dilation=geo.strides)
    return dense(y, jnp.swapaxes(w, -1, -2), turned)


def one_kernel_grad(x, y, geo: Geometry):
    """Summed over blocks of images, so that the patches, made for one row of taps at a time, stay in cache."""
    if geo.groups > 1:
        return gemm_kernel_grad(x[None], y[None], geo)[0]
    n, channels = len(x), x.shape[-1]
    row = geo.kernel[-1] if channels >= 16 else math.prod(geo.kernel)
    size = math.prod(geo.out) * row * channels * x.dtype.itemsize
    block = max(d for d in range(1, n + 1) if n % d == 0 and (d == 1 or d * size <= CACHE))

    def add(w, xy):
        x, y = xy
        taps = list(windows(x[None], geo))
        rows = [jnp.concatenate(taps[i : i + row], -1) for i in range(0, len(taps), row)]
        flat = lambda a: a.reshape(1, -1, a.shape[-1])
        products = [matmul("tmk,tmo->tko", flat(row), flat(y), geo) for row in rows]
        return w + jnp.concatenate(products, 1).reshape(w.shape), None

    w = jnp.zeros(w_shape(x, y, geo), jnp.promote_types(x.dtype, jnp.float32))
    if block == n:
        w, _ = add(w, (x, y))
    else:
        blocks = (a.reshape(-1, block, *a.shape[1:]) for a in (x, y))
        w, _ = lax.scan(add, w, tuple(blocks))
    return w.astype(x.dtype)


ONE = (dense, one_input_grad, one_kernel_grad)
CACHE = 2**22  # bytes of patches; measured with 2 MiB of L2 cache per core


def loop(i: int, a, b, geo: Geometry):
    if len(a) == 1:
        return ONE[i](a[0], b[0], geo)[None]
    return lax.map(lambda task: ONE[i](task[0], task[1], geo), (a, b))


# The choice.


def choose(platform: str | None, devices: int, i: int, a, b, geo: Geometry) -> str:
    """Rests on `benchmarks/task_conv.py`, and on whole meta-gradients.

    On a CPU: matrix products while the patches of one task fit into the cache (then two maps of the same
    images also share them), else one task after the other. A loop over tasks would gather what several
    devices share, so those get matrix products. So does a GPU, where they make whole meta-gradients 7 times
    as fast as grouped convolutions (`benchmarks/maml_speed.py`, H100); and all other platforms, by default
    and not by measurement.
    """
    if platform != "cpu" or devices > 1:
        return "gemm"
    channels = b.shape[-2] * geo.groups if i == 1 else a.shape[-1]
    size = a.shape[1] * math.prod(geo.out) * math.prod(geo.kernel) * channels * a.dtype.itemsize
    return "gemm" if size <= CACHE else "loop"
