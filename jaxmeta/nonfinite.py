"""Guards against losses and gradients that are not finite, inside compiled steps, where nothing can be raised."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .state_changes import changes, moved
from .types import Aux, Key, PyTree


def all_finite(tree: PyTree) -> jax.Array:
    """Return whether every number is finite.

    Example:
      >>> bool(all_finite({"w": jnp.array([1.0, jnp.nan]), "count": jnp.array(3)}))
      False
    """
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()


def stays_finite(old: PyTree, new: PyTree) -> jax.Array:
    """Return whether no number becomes infinite or NaN; an optimizer may keep an infinity of its own."""
    pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    floats = [(a, b) for a, b in pairs if jnp.issubdtype(b.dtype, jnp.inexact)]
    return jnp.stack([(jnp.isfinite(b) | ~jnp.isfinite(a)).all() for a, b in floats]).all()


def by_task(grad_fn: Callable[..., tuple[PyTree, Aux]]) -> Callable[..., tuple[PyTree, Aux]]:
    """Return a meta-gradient to which a task without a finite gradient adds zero.

    The metric ``"kept"`` is the share of tasks that have one. Every task's own gradient is kept apart, so gradients
    take as many times the memory as there are tasks.
    """

    def guarded(params: PyTree, state: PyTree, tasks: PyTree, keys: Key) -> tuple[PyTree, Aux]:
        def alone(*task: Any) -> tuple[PyTree, Aux]:
            return grad_fn(params, state, *jax.tree.map(lambda a: a[None], task))

        grads, aux = jax.vmap(alone)(tasks, keys)
        good = jax.vmap(all_finite)((grads, aux))

        def mean(a: jax.Array) -> jax.Array:
            return jnp.where(good.reshape(-1, *[1] * (a.ndim - 1)), a, jnp.zeros_like(a)).mean(0)

        grads, metrics = jax.tree.map(mean, (grads, {**aux.metrics, "kept": jnp.float32(good)}))
        by = [mean(change) for change in changes(jax.tree.map(lambda a: a[None], state), aux.state)]
        return grads, Aux(moved(state, jax.tree.map(lambda a: a[0], aux.state), by), metrics)

    return guarded


def of_kept(grads: PyTree, state: PyTree, aux: Aux, num_tasks: int) -> tuple[PyTree, Aux]:
    """Turn means over all tasks of `by_task` into means over those that were kept; NaN where none was."""
    kept = aux.metrics["kept"]

    def scale(a: jax.Array) -> jax.Array:
        return a / kept.astype(a.dtype)

    metrics = {name: scale(m) for name, m in aux.metrics.items() if name != "kept"}
    metrics["skipped_tasks"] = num_tasks * (1 - kept)
    by = [scale(change) for change in changes(state, aux.state)]
    return jax.tree.map(scale, grads), Aux(moved(state, aux.state, by), metrics)
