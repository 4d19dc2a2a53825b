"""Max-pooling as maxima of strided parts: element by element, in every order of derivative."""

from functools import reduce

import jax
import jax.numpy as jnp


def max_pool(x: jax.Array, window: tuple[int, ...] = (2, 2)) -> jax.Array:
    """The largest value of each of the windows that tile an image, ``[N, *size, C] -> [N, *size // window, C]``.

    The same as `flax.linen.max_pool(x, window, strides=window)`; rows that fill no window are left out.
    The stock form is a windowed reduction, whose derivatives select and scatter. Where values tie, they share the
    derivative.

    Example:
      >>> max_pool(jnp.arange(6.0).reshape(1, 2, 3, 1)).tolist()
      [[[[4.0]]]]
    """
    for axis, size in enumerate(window, start=1):
        whole = x.shape[axis] // size * size
        parts = [jax.lax.slice_in_dim(x, start, whole, size, axis) for start in range(size)]
        x = reduce(jnp.maximum, parts)
    return x
