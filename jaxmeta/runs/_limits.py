"""Refuse runs that cannot succeed: more memory than the machine has, or accumulation over more steps than there are."""

import math
import os
from typing import Any

import jax

from ..experiment import Experiment
from ..types import Task


def check_limits(e: Experiment, accumulate: int = 1, task: Task | None = None, memory: int | None = None) -> None:
    """Check the sizes of an experiment from shapes alone, before anything is made.

    Args:
      e: the experiment.
      accumulate: steps whose gradients are averaged into one update.
      task: shapes of a training task, by default `Experiment.example`.
      memory: bytes that the machine has, by default asked of the operating system.

    Raises:
      ValueError: if `accumulate` is larger than the number of steps, or if the parameters with the optimizer's state,
        or the tasks of one step, are larger than the memory.

    Example:
      >>> from jaxmeta.recipes import sinusoid_maml
      >>> check_limits(sinusoid_maml(num_steps=5), accumulate=6)
      Traceback (most recent call last):
      ...
      ValueError: `accumulate` is 6, but training has only 5 steps: nothing would be updated. ...
    """
    if accumulate > e.num_steps:
        raise ValueError(
            f"`accumulate` is {accumulate:,}, but training has only {e.num_steps:,} steps: nothing would be updated. "
            "Lower it, or raise `num_steps`."
        )
    memory = _memory() if memory is None else memory
    task = e.example if task is None else task
    meta = jax.eval_shape(e.learner.init, jax.random.key(0), task)
    state = jax.eval_shape(e.optimizer.init, meta.params)
    needs = {
        "the parameters and the state of their optimizer": _bytes((meta, state)),
        f"the {e.tasks_per_step:,} tasks of a step": e.tasks_per_step * _bytes(task),
    }
    for what, size in needs.items():
        if memory is not None and size > memory:
            raise ValueError(
                f"{what} take {size / 2**30:,.1f} GiB, but this machine has {memory / 2**30:,.1f} GiB. Lower sizes "
                "such as `features`, `hidden`, `num_ways`, `num_shots` or `tasks_per_step`."
            )


def _bytes(tree: Any) -> int:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
