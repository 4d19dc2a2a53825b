"""How the states that episodes leave become one: floats move by their mean change, everything else agrees.

Averaging the change, not the values, leaves an untouched state bit-equal. A running variance becomes the mean of the
variances within tasks. Integers, such as counters, are the same after every episode.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from .types import PyTree


def changes(old: PyTree, new: PyTree) -> list[jax.Array]:
    """Return the change of every float leaf.

    Example:
      >>> changes({"mean": 1.0, "count": 2}, {"mean": jnp.float32(1.5), "count": jnp.int32(3)})
      [Array(0.5, dtype=float32)]
    """
    pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    return [after - before for before, after in pairs if jnp.issubdtype(after.dtype, jnp.inexact)]


def moved(old: PyTree, new: PyTree, by: Sequence[jax.Array]) -> PyTree:
    """Return ``new`` with other float leaves: those of ``old`` plus ``by``, a list such as `changes` returns.

    Example:
      >>> moved({"mean": 1.0, "count": 2}, {"mean": jnp.float32(9), "count": jnp.int32(3)}, [jnp.float32(0.25)])
      {'count': Array(3, dtype=int32), 'mean': Array(1.25, dtype=float32)}
    """
    left = iter(by)
    return jax.tree.map(lambda a, b: a + next(left) if jnp.issubdtype(b.dtype, jnp.inexact) else b, old, new)
