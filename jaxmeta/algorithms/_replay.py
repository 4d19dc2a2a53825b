"""Replay: on a stream of tasks, train on remembered ones beside the new ones, or follow the meta-leader.

Finn, Rajeswaran, Kakade and Levine, 2019, https://arxiv.org/abs/1902.08438; the memory is a uniform sample of the
stream, Vitter, 1985, https://doi.org/10.1145/3147.3165
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..step import meta_step, step_keys
from ..types import Key, MetaLearner, MetaState, PyTree, Sampler, Task, Variables

MEMORY = 2**32 - 1  # no task of a step has this index


class Reservoir(NamedTuple):
    """A uniform sample of the tasks seen so far.

    Attributes:
      tasks: every leaf ``[capacity, ...]``.
      seen: int32 scalar, tasks seen; ``min(seen, capacity)`` places are filled, the first ones first.
    """

    tasks: Task
    seen: jax.Array


class ReplayState(NamedTuple):
    """`MetaState.opt_state` under replay: the optimizer's own state, and the memory."""

    inner: PyTree
    memory: Reservoir


class Replay(NamedTuple):
    """The result of `replay`: an optimizer whose state holds the memory, and the outer step for `fit`."""

    optimizer: optax.GradientTransformation
    step: Callable[[MetaState, Task], tuple[MetaState, dict[str, jax.Array]]]


def replay(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    task_or_sampler: Task | Sampler,
    *,
    capacity: int,
    num_replayed: int,
    include_new: bool = True,
    num_updates: int = 1,
    gradient: Callable[..., Any] | None = None,
    chunk: int | None = None,
) -> Replay:
    r"""Make an outer step for streams: new tasks enter the memory, and tasks drawn from it join them in the update.

    With T new tasks, a step minimises $\frac{1}{T + R} \big(\sum_{t \in N} \ell_t + \sum_{t \in M} \ell_t\big)$ over
    the new ones $N$ and $R$ tasks $M$ drawn from a reservoir, in which every task seen so far is equally likely to be.
    Follow the meta-leader is ``include_new=False``, with a ``capacity`` for the whole stream and some ``num_updates`` a
    step: all tasks seen so far count the same. The memory holds whole tasks; old data are not sampled again.

    Args:
      learner: any learner.
      optimizer: the outer optimizer.
      task_or_sampler: a task of the stream, or a sampler to know its shapes from.
      capacity: tasks that the memory holds.
      num_replayed: R, tasks drawn from it for an update, with replacement.
      include_new: whether the new tasks are in the update themselves.
      num_updates: outer updates a step, each with tasks drawn anew.
      gradient, chunk: as for `meta_step`.

    Returns:
      A `Replay`: initialise with its ``optimizer`` and pass both to `fit`. All of it is a pure function of the state:
      resumed or run again, training and memory are the same bit for bit.

    Raises:
      ValueError: for a count that is not positive (``num_replayed`` may be 0), or nothing to train on.

    Example:
      >>> import jaxmeta as jm
      >>> stream = [jm.tasks.sinusoid(phase=(p, p)) for p in (0.0, 1.0)]
      >>> learner = jm.maml(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse, num_steps=1)
      >>> optimizer, step = replay(learner, optax.adam(1e-3), stream[0], capacity=16, num_replayed=4)
      >>> state = jm.init(learner, stream[0], optimizer, key=jax.random.key(0))
      >>> for i, phase in enumerate(stream, 1):
      ...     state, _ = jm.fit(learner, phase, optimizer, state, num_steps=3 * i, tasks_per_step=4, step=step)
      >>> int(state.opt_state.memory.seen)
      24
    """
    _check(capacity, num_replayed, include_new, num_updates)
    make: Any = (lambda key: task_or_sampler) if isinstance(task_or_sampler, Task) else task_or_sampler
    shapes = jax.eval_shape(lambda key: make(key), jax.random.key(0))
    update = meta_step(learner, optimizer, gradient=gradient, chunk=chunk)

    def init(params: PyTree) -> ReplayState:
        return ReplayState(optimizer.init(params), empty(shapes, capacity))

    def inner_update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        updates, inner = optimizer.update(updates, state.inner, params)
        return updates, state._replace(inner=inner)

    def step(state: MetaState, tasks: Task) -> tuple[MetaState, dict[str, jax.Array]]:
        k_memory, k_updates = jax.random.split(jax.random.fold_in(step_keys(state)[1], MEMORY))
        memory = remember(state.opt_state.memory, tasks, k_memory)

        def one(carry: tuple[Variables, PyTree], key: Key) -> tuple[tuple[Variables, PyTree], dict[str, jax.Array]]:
            k_draw, k_learn = jax.random.split(key)
            batch = recall(memory, k_draw, num_replayed)
            if include_new:
                batch = jax.tree.map(lambda new, old: jnp.concatenate([new, old]), tasks, batch)
            new, metrics = update(MetaState(state.step, carry[0], carry[1], k_learn), batch)
            return (new.meta, new.opt_state), metrics

        carry, keys = (state.meta, state.opt_state.inner), jax.random.split(k_updates, num_updates)
        if num_updates == 1:  # no loop: on a CPU convolutions are slower in one
            carry, metrics = one(carry, keys[0])
        else:
            carry, metrics = jax.lax.scan(one, carry, keys)
            metrics = jax.tree.map(lambda m: m.mean(0), metrics)
        return MetaState(state.step + 1, carry[0], ReplayState(carry[1], memory), state.key), metrics

    return Replay(optax.GradientTransformation(init, inner_update), step)


def empty(task: Task, capacity: int) -> Reservoir:
    """Return an empty memory for tasks of the shapes of ``task``."""
    return Reservoir(jax.tree.map(lambda a: jnp.zeros((capacity, *a.shape), a.dtype), task), jnp.zeros((), jnp.int32))


def remember(memory: Reservoir, tasks: Task, key: Key) -> Reservoir:
    """Show the memory tasks ``[T, ...]``, one after the other: the n-th of a stream is kept with probability K / n.

    Example:
      >>> memory = remember(empty(jnp.zeros(()), 3), jnp.arange(5.0), jax.random.key(0))
      >>> memory.tasks.shape, int(memory.seen)
      ((3,), 5)
    """
    capacity = jax.tree.leaves(memory.tasks)[0].shape[0]

    def show(memory: Reservoir, inputs: tuple[Task, Key]) -> tuple[Reservoir, None]:
        task, key = inputs
        drawn = jax.random.randint(key, (), 0, memory.seen + 1)
        place = jnp.where(memory.seen < capacity, memory.seen, drawn)  # at or beyond the capacity: dropped
        kept = jax.tree.map(lambda old, new: old.at[place].set(new, mode="drop"), memory.tasks, task)
        return Reservoir(kept, memory.seen + 1), None

    num_tasks = jax.tree.leaves(tasks)[0].shape[0]
    return jax.lax.scan(show, memory, (tasks, jax.random.split(key, num_tasks)))[0]


def recall(memory: Reservoir, key: Key, num_tasks: int) -> Task:
    """Draw remembered tasks, uniformly and with replacement, ``[num_tasks, ...]``."""
    filled = jnp.minimum(memory.seen, jax.tree.leaves(memory.tasks)[0].shape[0])
    rows = jax.random.randint(key, (num_tasks,), 0, jnp.maximum(filled, 1))
    return jax.tree.map(lambda a: a[rows], memory.tasks)


def _check(capacity: int, num_replayed: int, include_new: bool, num_updates: int) -> None:
    if capacity < 1 or num_updates < 1 or num_replayed < 0:
        raise ValueError(
            f"`capacity` and `num_updates` must be at least 1 and `num_replayed` at least 0, got {capacity}, "
            f"{num_updates} and {num_replayed}."
        )
    if not (include_new or num_replayed):
        raise ValueError("There is nothing to train on: `include_new` is False and `num_replayed` is 0.")
