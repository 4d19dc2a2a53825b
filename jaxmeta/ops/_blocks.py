"""The three maps for a single kernel, a few images at a time, as patches and matrix products that stay in cache.

A CPU has two bottlenecks that this avoids. XLA computes a kernel gradient as a convolution whose window is the whole
image, several times slower than a matrix product. The patches of many images at once do not fit into a cache.

A row of the kernel is its last spatial axis. The patches of a row, ``[N, *out, K * C]`` for a row of K taps, of which
there is one array for each row, are slices of one array along the other axes. This makes K copies of the images, not
one for each tap of the kernel.
"""

import math
from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

from ._geometry import Geometry, matmul, pad, taps, w_shape, windows

BLOCK = 2**19  # bytes of the patches of a block; L2 caches have 512 KiB to 2 MiB per core


def rows(x: jax.Array, geo: Geometry) -> list[jax.Array]:
    """Return the patches of each row of the kernel, ``[N, *out, K * C]``."""
    last = len(geo.size) - 1
    return windows([jnp.concatenate(taps(pad(x, geo), last, geo), -1)], range(last), geo)


def row_kernels(w: jax.Array, geo: Geometry) -> list[jax.Array]:
    """Return one matrix for each row of the kernel, ``[K * C, O]``."""
    return list(w.reshape(-1, geo.kernel[-1] * w.shape[-2], w.shape[-1]))


def block_output(x: jax.Array, kernels: list[jax.Array], geo: Geometry) -> jax.Array:
    """Return the outputs of a block of images."""
    products = [matmul("...k,ko->...o", p, w, geo) for p, w in zip(rows(x, geo), kernels, strict=True)]
    return reduce(jnp.add, products).astype(x.dtype)


def block_input_grad(y: jax.Array, kernels: list[jax.Array], geo: Geometry) -> jax.Array:
    """Return the input gradient of a block of images."""
    products = [matmul("...o,ko->...k", y, w, geo) for w in kernels]
    x = jax.ShapeDtypeStruct((len(y), *geo.size, len(kernels[0]) // geo.kernel[-1]), products[0].dtype)
    return jax.linear_transpose(partial(rows, geo=geo), x)(products)[0].astype(y.dtype)


def block_kernel_grad(x: jax.Array, y: jax.Array, geo: Geometry) -> jax.Array:
    """Return what a block of images adds to the kernel gradient, ``[rows, K * C, O]``, or float32 of half precision."""
    flat = y.reshape(-1, y.shape[-1])
    patches = [p.reshape(-1, p.shape[-1]) for p in rows(x, geo)]
    if patches[0].shape[-1] <= flat.shape[-1]:
        return jnp.stack([matmul("mk,mo->ko", p, flat, geo) for p in patches])
    # A product is faster with its longer side last.
    return jnp.swapaxes(jnp.stack([matmul("mo,mk->ok", flat, p, geo) for p in patches]), 1, 2)


def output(x: jax.Array, w: jax.Array, geo: Geometry) -> jax.Array:
    """Return the outputs, block by block."""
    kernels = row_kernels(w, geo)  # outside of the loop
    return map_blocks(lambda x: block_output(x, kernels, geo), x, images_per_block(len(x), w.shape, x.dtype, geo))


def input_grad(y: jax.Array, w: jax.Array, geo: Geometry) -> jax.Array:
    """Return the input gradient, block by block."""
    kernels = row_kernels(w, geo)
    return map_blocks(lambda y: block_input_grad(y, kernels, geo), y, images_per_block(len(y), w.shape, y.dtype, geo))


def kernel_grad(x: jax.Array, y: jax.Array, geo: Geometry) -> jax.Array:
    """Return the kernel gradient, a sum over blocks."""
    shape = w_shape(x, y, geo)
    n = images_per_block(len(x), shape, x.dtype, geo)
    if n == len(x):
        return block_kernel_grad(x, y, geo).astype(x.dtype).reshape(shape)
    whole = len(x) // n * n
    wide = jnp.promote_types(x.dtype, jnp.float32)
    total = jnp.zeros((math.prod(shape[: len(geo.kernel) - 1]), geo.kernel[-1] * shape[-2], shape[-1]), wide)
    blocks = tuple(a[:whole].reshape(-1, n, *a.shape[1:]) for a in (x, y))
    total, _ = lax.scan(lambda total, block: (total + block_kernel_grad(*block, geo), None), total, blocks)
    if whole < len(x):
        total += block_kernel_grad(x[whole:], y[whole:], geo)
    return total.astype(x.dtype).reshape(shape)


def map_blocks(f: Callable[[jax.Array], jax.Array], a: jax.Array, n: int) -> jax.Array:
    """Apply ``f`` to ``n`` images at a time; the last block may be smaller."""
    if n == len(a):
        return f(a)
    whole = len(a) // n * n
    out = lax.map(f, a[:whole].reshape(-1, n, *a.shape[1:]))
    out = out.reshape(whole, *out.shape[2:])
    return out if whole == len(a) else jnp.concatenate([out, f(a[whole:])])


def images_per_block(images: int, kernel: tuple[int, ...], dtype: jnp.dtype, geo: Geometry) -> int:
    """Return how many images make a block: a divisor of their number, if there is one of about the right size.

    Its patches of one row fill `BLOCK` bytes, or have as many rows as the kernel has columns, if that is more: then
    reading the kernel again for every block costs little.
    """
    pixels = math.prod(geo.out)
    patches = pixels * geo.kernel[-1] * kernel[-2] * dtype.itemsize
    most = min(images, max(BLOCK // patches, -(-kernel[-1] // pixels), 1))
    divisor = max(n for n in range(1, most + 1) if images % n == 0)
    return divisor if 2 * divisor > most else most
