"""Devices and processes: a mesh over tasks, how meta-parameters lie on it, and the start of several processes.

Tasks are the data axis, ``"task"``. Each device differentiates its own tasks; meta-parameters are replicated, or
sharded by a rule, and then gathered for a step and their gradients scattered (FSDP; Rajbhandari et al., 2020,
https://arxiv.org/abs/1910.02054). A second axis, ``"fsdp"``, whose devices have tasks of their own too, bounds over how
many devices an array is split: groups of so many hold one copy each (MiCS; Zhang et al., 2022,
https://arxiv.org/abs/2205.00119).
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .types import PyTree

Rule = Callable[[str, tuple[int, ...], Mapping[str, int]], PartitionSpec]  # of path, shape, and the mesh's axes
TASK, FSDP = "task", "fsdp"


def num_cores() -> int:
    """Return the number of cores that this process may use.

    Example:
      >>> num_cores() >= 1
      True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores(num: int | None = None) -> int:
    """Make a device of each core of the CPU, so that `fit` spreads tasks over them.

    Call it before anything else makes an array: JAX counts devices once. On a GPU or TPU it changes nothing of `fit`.

    Args:
      num: the number of devices; by default one a core that this process may use.

    Returns:
      The number of devices.

    Raises:
      ValueError: if ``num`` is below 1.
      RuntimeError: if JAX has counted another number of devices already.

    Example:
      >>> # import jaxmeta as jm; jm.parallel.use_cores()   # the first line of a script
    """
    num = num_cores() if num is None else num
    if num < 1:
        raise ValueError(f"`num` must be at least 1 device, got {num}.")
    try:
        jax.config.update("jax_num_cpu_devices", num)
    except RuntimeError as error:
        raise RuntimeError(
            f"`use_cores()` comes too late to make {num} devices: JAX has counted them already. Call it before the "
            "first array is made, or set the environment variable JAX_NUM_CPU_DEVICES."
        ) from error
    return num


def make_mesh(num_devices: int | None = None, *, fsdp: int | None = None) -> Mesh:
    """Return a mesh of the first devices, all of them by default, over which `fit` and `evaluate` spread tasks.

    Args:
      num_devices: how many.
      fsdp: neighbours in the order of `jax.devices` that form a group, within which the rule `fsdp` splits arrays; all
        of them by default.

    Raises:
      ValueError: for more devices than there are, or none; with several processes, for fewer than all; if groups of
        ``fsdp`` do not divide them.

    Example:
      >>> dict(make_mesh(1).shape), dict(make_mesh(1, fsdp=1).shape)
      ({'task': 1}, {'task': 1, 'fsdp': 1})
    """
    devices = jax.devices()
    wanted = len(devices) if num_devices is None else num_devices
    if not 1 <= wanted <= len(devices):
        more = (
            "On a CPU, call `jaxmeta.parallel.use_cores()` before anything else."
            if devices[0].platform == "cpu"
            else ""
        )
        raise ValueError(f"`num_devices` must be 1 to {len(devices)}, the devices there are, got {wanted}. {more}")
    if jax.process_count() > 1 and wanted < len(devices):
        raise ValueError(f"`num_devices` is {wanted}, but {jax.process_count()} processes share {len(devices)}.")
    return in_groups(devices[:wanted], fsdp)


def in_groups(devices: Sequence[Any], fsdp: int | None = None) -> Mesh:
    """Return a mesh of these devices: the axis ``"task"``, and for groups of ``fsdp`` neighbours ``"fsdp"``.

    Raises:
      ValueError: if groups of ``fsdp`` do not divide the devices.

    Example:
      >>> dict(in_groups(jax.devices()[:1], fsdp=1).shape)
      {'task': 1, 'fsdp': 1}
    """
    if fsdp is None:
        return Mesh(np.array(devices), (TASK,))
    if fsdp < 1 or len(devices) % fsdp:
        raise ValueError(f"`fsdp` must divide the {len(devices)} devices into groups, got {fsdp}.")
    return Mesh(np.array(devices).reshape(-1, fsdp), (TASK, FSDP))


def start(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int = 30,
) -> None:
    """Join the processes of one run, each with its own devices; call it before anything else touches a device.

    Without arguments the addresses come from the environment: SLURM, Cloud TPU, Open MPI and Kubernetes are known to
    jax. Every process then runs the same program, `fit` included.

    Args:
      coordinator: ``"host:port"`` of process 0.
      num_processes, process_id: how many there are, and which one this is, from 0.
      timeout: seconds without a sign of life after which a process counts as lost, and the others end, naming it.

    Raises:
      ValueError: if only some of the three are given, or the id is not one of theirs.
    """
    given = [coordinator is not None, num_processes is not None, process_id is not None]
    if any(given) and not all(given):
        raise ValueError("`coordinator`, `num_processes` and `process_id` belong together: give all three, or none.")
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise ValueError(f"`process_id` must be 0 to {num_processes - 1}, got {process_id}.")
    jax.distributed.initialize(coordinator, num_processes, process_id, heartbeat_timeout_seconds=timeout)


def fsdp(pattern: str = "", *, min_size: int = 2**14) -> Rule:
    """Return a rule that shards large arrays along the largest axis that the devices divide, and replicates the rest.

    The devices are those of the mesh's axis ``"fsdp"``, or of ``"task"`` where there is no such axis. The rule is
    applied to the whole training state, so that an optimizer's moments lie as their parameters do.

    Args:
      pattern: regular expression, searched for in a leaf's path in the state; by default all match. Match the end:
        a moment's path (``"opt_state/0/mu/conv0/kernel"``) ends as its parameter's (``"meta/params/conv0/kernel"``).
      min_size: entries from which an array is worth sharding.

    Example:
      >>> rule = fsdp("kernel", min_size=1000)
      >>> rule("params/conv0/kernel", (3, 3, 64, 64), {"task": 4}), rule("params/conv0/bias", (64,), {"task": 4})
      (P(None, None, 'task'), P())
      >>> rule("params/conv0/kernel", (3, 3, 64, 64), {"task": 256, "fsdp": 16})
      P(None, None, 'fsdp')
    """

    def rule(path: str, shape: tuple[int, ...], axes: Mapping[str, int]) -> PartitionSpec:
        over = FSDP if FSDP in axes else TASK
        fitting = [axis for axis, size in enumerate(shape) if size and size % axes[over] == 0]
        if not fitting or np.prod(shape) < min_size or not re.search(pattern, path):
            return PartitionSpec()
        axis = max(fitting, key=lambda axis: shape[axis])
        return PartitionSpec(*[None] * axis, over)

    return rule


def specs(tree: PyTree, mesh: Mesh, rule: Rule | None) -> PyTree:
    """Return how each leaf is split over the mesh, as a tree of `PartitionSpec`: replicated where there is no rule."""

    def one(path: Any, leaf: Any) -> PartitionSpec:
        if rule is None or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return PartitionSpec()
        return rule(jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape, dict(mesh.shape))

    return jax.tree_util.tree_map_with_path(one, tree)


def layout(tree: PyTree, mesh: Mesh, rule: Rule | None = None) -> PyTree:
    """Return the sharding of each leaf on the mesh.

    Example:
      >>> layout({"w": np.zeros((4, 4))}, make_mesh(1))["w"].is_fully_replicated
      True
    """
    return jax.tree.map(lambda spec: NamedSharding(auto_mesh(mesh), spec), specs(tree, mesh, rule))


def place(tree: PyTree, mesh: Mesh | None, rule: Rule | None = None) -> PyTree:
    """Put arrays on the mesh by the rule; every process gives the same values and keeps its part of them."""
    if mesh is None:
        return tree
    return jax.tree.map(_put, tree, layout(tree, mesh, rule))


def auto_mesh(mesh: Mesh) -> Mesh:
    """Return the same devices with axes of type Auto: the types of arrays do not say how they are sharded."""
    return Mesh(mesh.devices, mesh.axis_names)


def over_tasks(f: Callable, mesh: Mesh, whole: PyTree, out: PyTree) -> Callable:
    """Return a function that runs ``f(whole, *stacks, keys)`` on every device with its share of the tasks.

    One key per task comes last.

    Args:
      f: what each device computes.
      mesh: its `task_axes` split the tasks.
      whole, out: how the first argument and the outputs lie on the mesh, trees or prefixes of `PartitionSpec`.
    """
    check_mesh(mesh)

    def call(first: Any, *stacks: Any) -> Any:
        check_mesh(mesh, len(stacks[-1]))
        in_specs = whole, *[PartitionSpec(task_axes(mesh))] * len(stacks)
        return jax.shard_map(f, mesh=auto_mesh(mesh), in_specs=in_specs, out_specs=out, check_vma=False)(first, *stacks)

    return call


def check_mesh(mesh: Mesh, num_tasks: int = 0) -> None:
    """Check that a mesh can share out so many tasks.

    Raises:
      ValueError: if its devices do not divide them, or it has no axis ``"task"``.
    """
    if TASK not in mesh.shape:
        raise ValueError(f"`mesh` needs an axis 'task', got the axes {mesh.axis_names}.")
    if num_tasks % (devices := prod(mesh.shape[axis] for axis in task_axes(mesh))):
        raise ValueError(f"`mesh` has {devices} devices, which must divide the {num_tasks} tasks of a step.")


def task_axes(mesh: Mesh) -> tuple[str, ...]:
    """Return the axes over which tasks are split.

    Example:
      >>> task_axes(make_mesh(1)), task_axes(make_mesh(1, fsdp=1))
      (('task',), ('task', 'fsdp'))
    """
    return tuple(axis for axis in mesh.axis_names if axis in (TASK, FSDP))


def gather(tree: PyTree, specs: PyTree) -> PyTree:
    """Gather shards to whole arrays, within `over_tasks`."""

    def one(leaf: jax.Array, spec: PartitionSpec) -> jax.Array:
        for dim, over in _split(spec):
            leaf = jax.lax.all_gather(leaf, over, axis=dim, tiled=True)
        return leaf

    return jax.tree.map(one, tree, specs)


def mean_and_scatter(tree: PyTree, specs: PyTree, axes: tuple[str, ...]) -> PyTree:
    """Return the mean over ``axes``, of which each device keeps its shard, within `over_tasks`.

    Arrays that are split are scattered first, and their shards are averaged over the axes that are left, all in one
    reduction, together with the arrays that are whole.
    """
    leaves, treedef = jax.tree.flatten(tree)
    flat = treedef.flatten_up_to(specs)
    means = [_scatter(*pair) for pair in zip(leaves, flat, strict=True)]
    left = [tuple(a for a in axes if not any(a in over for _, over in _split(spec))) for spec in flat]
    for over in sorted(set(left) - {()}):
        where = [i for i, these in enumerate(left) if these == over]
        for i, mean in zip(where, jax.lax.pmean([means[i] for i in where], over), strict=True):
            means[i] = mean
    return treedef.unflatten(means)


def _scatter(leaf: jax.Array, spec: PartitionSpec) -> jax.Array:
    for dim, over in _split(spec):
        leaf = jax.lax.psum_scatter(leaf, over, scatter_dimension=dim, tiled=True) / jax.lax.axis_size(over)
    return leaf


def _split(spec: PartitionSpec) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Return the dimensions that are split, and over which axes of the mesh."""
    return ((dim, (over,) if isinstance(over, str) else over) for dim, over in enumerate(spec) if over is not None)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if jax.process_count() == 1 or (isinstance(leaf, jax.Array) and not leaf.is_fully_addressable):
        return jax.device_put(leaf, sharding)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])
