"""Tasks of the coming steps, prepared on the host while the device computes.

Letters: S seeds, T tasks.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import repeat
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .parallel import auto_mesh, check_mesh, place, task_axes
from .step import as_sampler, step_keys, task_keys
from .tasks._streamed import Streamed
from .types import Key, MetaState, Sampler, Task, Variables


def feed(
    sampler: Streamed, state: MetaState, *, num_steps: int, tasks_per_step: int, mesh: Mesh | None = None
) -> Iterator[Task]:
    """Yield the tasks of every step from the state's up to ``num_steps``, as `fit` trains on them, for your own loop.

    Tasks depend on the state's key, the step and their index in the step alone. The ``step`` in the state is all that
    the stream needs to resume: a checkpoint of the state is one of the stream. Grain's threads draw tasks on the CPU,
    look up their examples and send them to the device, at most ``2 sampler.num_threads`` steps ahead. With several
    processes, each looks up the tasks of its own devices.

    Args:
      sampler: from `tasks.streamed`.
      state: where to begin; that of S seeds gives the tasks of each.
      num_steps: the step to stop at.
      tasks_per_step: tasks T of a step.
      mesh: devices with an axis ``"task"`` over which the tasks of a step are split.

    Returns:
      An iterator of stacked tasks ``[T, ...]``, for several seeds ``[S, T, ...]``.

    Raises:
      TypeError: for another sampler.
      ImportError: if grain is not installed.

    Example:
      >>> import jaxmeta as jm, optax
      >>> data = jm.datasets.from_arrays(np.zeros((12, 8, 8, 1), np.uint8), np.repeat(np.arange(4), 3))
      >>> sampler = jm.tasks.streamed(data, num_ways=2, num_shots=1, num_queries=1)
      >>> learner, optimizer = jm.protonet(jm.from_linen(jm.backbones.MLP((4,)))), optax.adam(1e-3)
      >>> state = jm.init(learner, sampler, optimizer, key=jax.random.key(0))
      >>> step = jax.jit(jm.meta_step(learner, optimizer))
      >>> for tasks in feed(sampler, state, num_steps=3, tasks_per_step=4):
      ...     state, metrics = step(state, tasks)
      >>> int(state.step), tasks.query.x.shape
      (3, (4, 2, 8, 8, 1))
    """
    if not isinstance(sampler, Streamed):
        raise TypeError(f"`sampler` must come from `tasks.streamed`, got {type(sampler).__name__}; others run in jit.")
    if find_spec("grain") is None:
        raise ImportError('Streaming needs grain: `pip install "jaxmeta[stream]"`.')
    cpu = jax.local_devices(backend="cpu")[0]
    bits = np.asarray(jax.random.key_data(state.key))  # by way of the host: the state may be spread over processes
    key = jax.random.wrap_key_data(jax.device_put(bits, cpu), impl=jax.random.key_impl(state.key))
    draw = partial(_draw, jax.device_put(sampler.sampler, cpu), key, tasks_per_step)
    index, send = _places(mesh, tasks_per_step, key.ndim)
    draw(np.int32(0), index)  # compiled once, not by every thread

    def load(step: int) -> Any:
        indices = jax.tree.map(np.asarray, draw(np.int32(step), index))
        return send((indices, sampler.take(indices)))

    loaded = _ahead(load, int(np.max(state.step)), num_steps, sampler.num_threads)
    return (_finish(sampler.sampler, *one, key.ndim) for one in loaded)


def given_to_steps(
    sampler: Sampler, state: MetaState, num_steps: int, tasks_per_step: int, mesh: Mesh | None
) -> Iterator[Any]:
    """Yield the argument of each step of `fit`: the sampler itself, or tasks that the host prepares."""
    if isinstance(sampler, Streamed):
        return feed(sampler, state, num_steps=num_steps, tasks_per_step=tasks_per_step, mesh=mesh)
    return repeat(place(as_sampler(sampler), mesh))


def _ahead(load: Callable[[int], Any], start: int, stop: int, num_threads: int) -> Iterator[Any]:
    """Yield ``load(step)`` of every step in order, from threads that end with the iterator."""
    import grain

    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    loaded = iter(grain.MapDataset.range(start, stop).map(load).to_iter_dataset(options))
    try:
        yield from loaded
    finally:
        loaded.close()


@partial(jax.jit, static_argnums=2)
def _draw(sampler: Any, key: Key, num_tasks: int, step: jax.Array, index: jax.Array) -> Any:
    """Draw the choices of the tasks ``index`` of a step, for one seed or for each."""

    def one(key: Key) -> Any:
        k_data, _ = step_keys(MetaState(step, Variables({}), (), key))
        return jax.vmap(sampler.draw)(task_keys(k_data, num_tasks)[index])

    return one(key) if key.ndim == 0 else jax.vmap(one)(key)


@partial(jax.jit, static_argnums=3)
def _finish(sampler: Any, indices: Any, x: Any, num_axes: int) -> Task:
    finish = jax.vmap(sampler.finish)
    return (jax.vmap(finish) if num_axes else finish)(indices, x)


def _places(mesh: Mesh | None, num_tasks: int, axis: int) -> tuple[np.ndarray, Callable]:
    """Return the tasks of a step that this process looks up, and the function that sends their arrays."""
    if mesh is None:
        return np.arange(num_tasks), jax.device_put
    check_mesh(mesh, num_tasks)
    spread = NamedSharding(auto_mesh(mesh), PartitionSpec(task_axes(mesh)))
    parts = spread.addressable_devices_indices_map((num_tasks,)).values()
    own = {part[0].indices(num_tasks) for part in parts if part}
    sharding = NamedSharding(spread.mesh, PartitionSpec(*[None] * axis, task_axes(mesh)))

    def send(tree: Any) -> Any:
        whole = lambda a: (*a.shape[:axis], num_tasks, *a.shape[axis + 1 :])
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, a, whole(a)), tree)

    return np.concatenate([np.arange(*part) for part in sorted(own)]), send
