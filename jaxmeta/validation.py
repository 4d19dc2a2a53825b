"""What is wrong with a task, said before it is traced."""

import jax
import jax.core
import jax.numpy as jnp

from .types import Batch, Task


def check_task(task: Task) -> None:
    """Checks one episode: matching lengths, and, where values are known, labels in range and finite inputs.

    Raises:
      ValueError: naming the field, its value and what to do.

    Example:
      >>> check_task(Task(Batch(jnp.ones((3, 2)), jnp.ones(2)), None))
      Traceback (most recent call last):
      ValueError: `task.support` has 3 inputs but 2 targets. ...
    """
    for name, batch in (("support", task.support), ("query", task.query)):
        if isinstance(batch, Batch):
            _check_lengths(f"task.{name}", batch)
            if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(batch)):
                _check_values(f"task.{name}", batch)


def _check_lengths(name: str, batch: Batch) -> None:
    lengths = {
        field: {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(part)} for field, part in batch._asdict().items()
    }
    num_x, num_y = lengths["x"], lengths["y"]
    if len(num_x | num_y) != 1 or num_x == {()}:
        count = lambda sizes: " and ".join(str(*size) or "scalar" for size in sorted(sizes))
        raise ValueError(
            f"`{name}` has {count(num_x)} inputs but {count(num_y)} targets. A Task is one episode with a leading "
            "axis [N]; a batch of tasks is stacked to [T, N, ...] and goes to `meta_step`."
        )
    if batch.weight is not None and lengths["weight"] != num_x:
        raise ValueError(
            f"`{name}.weight` has shape {batch.weight.shape}, but there are {next(iter(num_x))[0]} examples."
        )


def _check_values(name: str, batch: Batch) -> None:
    for leaf in jax.tree.leaves(batch.x):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not bool(jnp.isfinite(leaf).all()):
            raise ValueError(f"`{name}.x` holds NaN or infinite values. Clean the data before sampling tasks from it.")
    if batch.ways is not None and jnp.issubdtype(batch.y.dtype, jnp.integer):
        num_ways, low, high = len(batch.ways), int(batch.y.min()), int(batch.y.max())
        if low < 0 or high >= num_ways:
            raise ValueError(
                f"`{name}.y` has labels from {low} to {high}, but `ways` has length {num_ways}: "
                f"labels are 0 to {num_ways - 1}. "
                "Relabel the classes of each task, or make `ways` longer."
            )
