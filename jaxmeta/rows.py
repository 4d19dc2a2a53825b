"""The rows of a batch: hide those of weight 0 from a learner, find unlabelled ones, take some, and draw mini-batches.

Letters: N examples, L tokens.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp

from .types import Aux, Batch, Key, MetaLearner, PyTree, Task, Variables


def ignoring_hidden(learner: MetaLearner, *, empty_support: bool = False) -> MetaLearner:
    """Return the learner with examples of weight 0 hidden from `adapt`, `predict` and `loss`.

    Args:
      learner: any learner; `episodic` does this for those that it makes.
      empty_support: as for `episodic`.

    Raises:
      ValueError: from `adapt` and `loss`, for a support set without examples where ``empty_support`` is False.
    """

    def shown(support: Any) -> Any:
        if isinstance(support, Batch) and num_rows(support) == 0:
            if not empty_support:
                raise ValueError(
                    "The support set has no example, so there is nothing to adapt to. Give at least one; "
                    "`neural_process`, `mann` and `snail` can predict without any."
                )
            support = hidden_row(support)
        return hide_rows(support)

    def adapt(meta: Variables, support: Any, key: Key | None = None) -> Any:
        return learner.adapt(meta, shown(support), key)

    def predict(
        meta: Variables, adapted: Any, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None
    ) -> Any:
        return predict_rows(learner, meta, adapted, hide_inputs(x, weight), key, weight=weight)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        return learner.loss(meta, Task(shown(task.support), hide_rows(task.query)), key)

    return MetaLearner(learner.init, adapt, predict, loss)


def predict_rows(
    learner: MetaLearner,
    meta: Variables,
    adapted: Any,
    x: PyTree,
    key: Key | None = None,
    *,
    weight: jax.Array | None = None,
) -> Any:
    """Call a learner's `predict`, with ``weight`` only where there is one.

    Raises:
      TypeError: if there is a ``weight`` and the learner's `predict` takes none.
    """
    if weight is None:
        return learner.predict(meta, adapted, x, key)
    try:
        return learner.predict(meta, adapted, x, key, weight=weight)
    except TypeError as error:
        if "unexpected keyword argument 'weight'" not in str(error):
            raise
        raise TypeError(
            "Some examples have weight 0, but `predict` of this learner takes no `weight` to hide them. Write "
            "`def predict(meta, adapted, x, key=None, *, weight=None)`, or make the learner with `jaxmeta.episodic`."
        ) from error


def hide_rows(batch: Any) -> Any:
    """Return the batch with inputs and targets of weight 0 replaced by harmless ones.

    Whatever hidden rows held, NaN included, then reaches no loss, gradient or prediction. A value that is no `Batch`
    passes through.

    Example:
      >>> hide_rows(Batch(jnp.array([jnp.nan, 2.0]), jnp.array([9, 1]), jnp.array([0.0, 1.0]))).x.tolist()
      [2.0, 2.0]
    """
    if not isinstance(batch, Batch) or batch.weight is None:
        return batch
    x, y = hide_inputs(batch.x, batch.weight), _hide_targets(batch.y, batch.weight)
    return batch._replace(x=x, y=y)


def hide_inputs(x: PyTree, weight: jax.Array | None) -> PyTree:
    """Return inputs whose examples of weight 0 are copies of the first example that counts.

    A copy is an input that the model can take; where no example counts, it is zero. With weights ``[N, L]`` an example
    is hidden if all of its tokens are. A hidden token of an example that counts is context, so it stays, but where it
    is not finite it becomes 0.

    Args:
      x: pytree of arrays ``[N, ...]``.
      weight: ``[N]`` or ``[N, L]``, or None to hide nothing.
    """
    if weight is None:
        return x
    counts = jnp.asarray(weight) != 0

    def hide(leaf: Any) -> jax.Array:
        leaf = _hide_examples(jnp.asarray(leaf), counts)
        if counts.ndim == 1 or leaf.shape[: counts.ndim] != counts.shape or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        return jnp.where(_as_wide(counts, leaf) | jnp.isfinite(leaf), leaf, 0)

    return jax.tree.map(hide, x)


def _hide_targets(y: PyTree, weight: jax.Array) -> PyTree:
    """Return targets whose hidden examples are copies of one that counts, and whose hidden tokens are 0."""
    counts = jnp.asarray(weight) != 0

    def hide(leaf: Any) -> jax.Array:
        leaf = _hide_examples(jnp.asarray(leaf), counts)
        if counts.ndim == 1 or leaf.shape[: counts.ndim] != counts.shape:
            return leaf
        return jnp.where(_as_wide(counts, leaf), leaf, jnp.zeros_like(leaf))

    return jax.tree.map(hide, y)


def _hide_examples(leaf: jax.Array, counts: jax.Array) -> jax.Array:
    rows = counts.reshape(counts.shape[0], -1).any(1) if counts.ndim > 1 else counts
    if leaf.shape[0] == 0:
        return leaf
    shown = jnp.where(rows.any(), leaf[jnp.argmax(rows)], jnp.zeros_like(leaf[0]))
    return jnp.where(_as_wide(rows, leaf), leaf, shown[None])


def _as_wide(mask: jax.Array, leaf: jax.Array) -> jax.Array:
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))


def hidden_row(batch: Batch) -> Batch:
    """Return a batch of one example of zeros with weight 0, shaped like the examples of ``batch``.

    Example:
      >>> hidden_row(Batch(jnp.ones((0, 2)), jnp.ones(0))).weight.tolist()
      [0.0]
    """
    zeros = lambda leaf: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype)
    weight = jnp.zeros((1,) if batch.weight is None else (1, *batch.weight.shape[1:]))
    return Batch(jax.tree.map(zeros, batch.x), jax.tree.map(zeros, batch.y), weight, batch.ways)


def unlabelled_rows(support: Batch) -> jax.Array:
    """Return the weight of each unlabelled example of a support set, whose label is -1; 0 for all others, ``[N]``.

    A learner that uses unlabelled examples calls this. `init` refuses the label -1 for every other learner, because
    such a learner would take it for a class.

    Example:
      >>> unlabelled_rows(Batch(jnp.ones((3, 1)), jnp.array([0, -1, -1]), jnp.array([1.0, 1.0, 0.0]))).tolist()
      [0.0, 1.0, 0.0]
    """
    calls = _unlabelled.get()
    if calls is not None:
        calls.append(support)
    weight = (support.y < 0).astype(jnp.float32)
    return weight if support.weight is None else weight * support.weight


@contextmanager
def noting_unlabelled() -> Generator[list[Batch]]:
    """Collect the support sets of which `unlabelled_rows` is asked inside, so that it is known who uses them.

    Example:
      >>> with noting_unlabelled() as used:
      ...     weight = unlabelled_rows(Batch(jnp.ones((1, 1)), jnp.array([0])))
      >>> len(used)
      1
    """
    calls: list[Batch] = []
    token = _unlabelled.set(calls)
    try:
        yield calls
    finally:
        _unlabelled.reset(token)


_unlabelled: ContextVar[list[Batch] | None] = ContextVar("unlabelled", default=None)


def num_rows(batch: Batch) -> int:
    """Return the number of examples of a batch."""
    return jax.tree.leaves(batch.y)[0].shape[0]


def take_rows(batch: Batch, rows: jax.Array | None) -> Batch:
    """Return the given examples of a batch; all of them for None."""
    if rows is None:
        return batch
    x, y, weight = jax.tree.map(lambda leaf: leaf[rows], (batch.x, batch.y, batch.weight))
    return Batch(x, y, weight, batch.ways)


def minibatches(key: Key | None, num_examples: int, batch_size: int, num_steps: int) -> jax.Array:
    """Draw the rows of every step, ``[num_steps, batch_size]``: shuffled passes over the examples, one after another.

    Raises:
      ValueError: if ``batch_size`` is not 1 to ``num_examples``.

    Example:
      >>> rows = minibatches(jax.random.key(0), 4, 2, 2)
      >>> sorted(rows.reshape(-1).tolist())
      [0, 1, 2, 3]
    """
    if not 0 < batch_size <= num_examples:
        raise ValueError(f"`batch_size` must be 1 to {num_examples}, the size of the support set, got {batch_size}.")
    key = jax.random.key(0) if key is None else key
    passes = -(-num_steps * batch_size // num_examples)
    rows = jax.vmap(lambda k: jax.random.permutation(k, num_examples))(jax.random.split(key, max(passes, 1)))
    return rows.reshape(-1)[: num_steps * batch_size].reshape(num_steps, batch_size)


def scale_bytes(x: jax.Array) -> jax.Array:
    """Return uint8 images as float32 in [0, 1], and other arrays unchanged."""
    return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x
