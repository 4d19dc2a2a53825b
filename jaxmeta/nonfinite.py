"""What happens to losses and gradients that are not finite, inside compiled steps, where nothing can be raised."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .types import Aux, PyTree


def all_finite(tree: PyTree) -> jax.Array:
    """Whether every number is.

    Example:
      >>> bool(all_finite({"w": jnp.array([1.0, jnp.nan]), "count": jnp.array(3)}))
      False
    """
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()


def stays_finite(old: PyTree, new: PyTree) -> jax.Array:
    """No number becomes infinite or NaN; an optimizer may keep an infinity of its own."""
    pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    floats = [(a, b) for a, b in pairs if jnp.issubdtype(b.dtype, jnp.inexact)]
    return jnp.stack([(jnp.isfinite(b) | ~jnp.isfinite(a)).all() for a, b in floats]).all()


def by_task(grad_fn: Callable) -> Callable:
    """A meta-gradient to which tasks that give no finite one add zero; the metric ``"kept"`` is the share that did.

    It needs every task's own gradient, so as much memory for gradients as there are tasks.
    """

    def guarded(params: PyTree, state: PyTree, tasks: PyTree, keys: jax.Array) -> tuple[PyTree, Aux]:
        alone = lambda *task: grad_fn(params, state, *jax.tree.map(lambda a: a[None], task))
        grads, aux = jax.vmap(alone)(tasks, keys)
        good = jax.vmap(all_finite)((grads, aux))
        mean = lambda a, other: jnp.where(good.reshape(-1, *[1] * (a.ndim - 1)), a, other).mean(0)
        grads, metrics = jax.tree.map(
            lambda a: mean(a, jnp.zeros_like(a)), (grads, {**aux.metrics, "kept": jnp.float32(good)})
        )
        merge = lambda old, new: mean(new, old[None]) if jnp.issubdtype(new.dtype, jnp.inexact) else new[0]
        return grads, Aux(jax.tree.map(merge, state, aux.state), metrics)

    return guarded


def of_kept(grads: PyTree, state: PyTree, aux: Aux, num_tasks: int) -> tuple[PyTree, Aux]:
    """Means over all tasks of `by_task` to means over those that were kept; NaN where none was."""
    kept = aux.metrics["kept"]
    scale = lambda a: a / kept.astype(a.dtype)
    others = {name: scale(m) for name, m in aux.metrics.items() if name != "kept"}
    change = lambda old, new: old + scale(new - old) if jnp.issubdtype(new.dtype, jnp.inexact) else new
    metrics = {**others, "skipped_tasks": num_tasks * (1 - kept)}
    return jax.tree.map(scale, grads), Aux(jax.tree.map(change, state, aux.state), metrics)
