"""Sampling without replacement in time that does not depend on the size of the population."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxmeta.types import Key


@partial(jax.jit, static_argnames="k")
def choose(key: Key, n: jax.Array | int, k: int) -> jax.Array:
    r"""Choose ``k`` of the numbers ``0 .. n - 1``, distinct and in uniformly random order.

    Floyd's algorithm (Bentley and Floyd, 1987, https://doi.org/10.1145/30401.315746): for
    $j = n - k, \dots, n - 1$ draw $t$ uniformly from $0 \dots j$ and keep $t$, or $j$ if $t$ was kept before.
    Every subset has probability $1 / \binom{n}{k}$; a permutation of the ``k`` numbers makes the order uniform.
    The cost is $O(k^2)$ for every ``n``; a permutation of all classes would need a sort for every task.

    Args:
      key: typed key.
      n: the size of the population, an int32 scalar; it may be traced, and differ along a mapped axis.
      k: the number to choose, static, ``k <= n``.

    Returns:
      The chosen numbers, int32 ``[k]``.

    Example:
      >>> choose(jax.random.key(0), 4, 4).sort()
      Array([0, 1, 2, 3], dtype=int32)
    """
    k_draws, k_order = jax.random.split(key)
    slots = jnp.arange(k, dtype=jnp.int32)
    last = jnp.int32(n) - k + slots
    draws = jax.random.randint(k_draws, [k], 0, last + 1, jnp.int32)

    def keep(chosen: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        slot, draw, last = step
        fresh = jnp.where(jnp.any(chosen == draw), last, draw)
        return jnp.where(slots == slot, fresh, chosen), None

    chosen, _ = jax.lax.scan(keep, jnp.full([k], -1, jnp.int32), (slots, draws, last))
    return jax.random.permutation(k_order, chosen)
