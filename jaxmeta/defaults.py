"""Defaults that follow from the program and the machine: chunks, the mesh, and loops on the device.

A CPU runs convolutions whose kernels adapt fastest one task at a time, spread over its cores: the arrays of one task
stay in cache. Convolutions whose kernels the tasks share run fastest in one piece, outside of any loop.
"""

import logging
import math
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.sharding import Mesh

from .parallel import make_mesh, num_cores
from .types import MetaLearner, PyTree, Task, Variables

Auto = Literal["auto"]
_LOGGER = logging.getLogger(__name__)
_MANY = 1009  # a prime number of tasks, which is seen in the groups of a convolution


def has_convolution(jaxpr: core.Jaxpr) -> bool:
    """Return whether a traced program contains a convolution, in its loops and branches too.

    Example:
      >>> has_convolution(jax.make_jaxpr(jnp.convolve)(jnp.ones(3), jnp.ones(2)).jaxpr)
      True
      >>> has_convolution(jax.make_jaxpr(jnp.dot)(jnp.ones(3), jnp.ones(3)).jaxpr)
      False
    """
    return any(_is_convolution(equation) for equation in _equations(jaxpr))


def kernels_adapt(learner: MetaLearner, meta: Variables, task: Task) -> bool:
    """Return whether a learner's loss contains a convolution in which every task has its own kernel.

    The loss is traced once for these shapes. MAML, which adapts all parameters, has such convolutions; ANIL and
    ProtoNet, whose tasks share the features, have none.

    Args:
      meta: the meta-parameters, or their shapes.
      task: one task, or its shapes.
    """
    leaves, treedef = jax.tree.flatten((meta, task))
    return _kernels_adapt(learner, treedef, tuple((jnp.shape(leaf), leaf.dtype) for leaf in leaves))


@lru_cache(maxsize=64)
def _kernels_adapt(learner: MetaLearner, treedef: Any, shapes: tuple[tuple[tuple[int, ...], Any], ...]) -> bool:
    meta, task = treedef.unflatten([jax.ShapeDtypeStruct(*one) for one in shapes])
    tasks = jax.tree.map(lambda a: jax.ShapeDtypeStruct((_MANY, *a.shape), a.dtype), task)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), _MANY))
    traced = jax.make_jaxpr(jax.vmap(learner.loss, (None, 0, 0)))(meta, tasks, keys)
    return any(_is_convolution(e) and _has_kernel_per_task(e) for e in _equations(traced.jaxpr))


def chosen_chunk(
    chunk: int | Auto | None, mesh: Mesh | Auto | None, learner: MetaLearner, meta: Variables, task: Task
) -> int | None:
    """Return the number of tasks to differentiate at a time: on a CPU one where kernels adapt, else all (None)."""
    if chunk != "auto":
        return chunk
    platform = mesh.devices.flat[0].platform if isinstance(mesh, Mesh) else jax.default_backend()
    return 1 if platform == "cpu" and kernels_adapt(learner, meta, task) else None


def chosen_mesh(
    mesh: Mesh | Auto | None, num_tasks: int, learner: MetaLearner, meta: Variables, task: Task
) -> Mesh | None:
    """Return the devices that share the tasks of a step, or None for one device.

    ``"auto"`` takes as many devices as divide the tasks; on a CPU only where kernels adapt.
    """
    if mesh != "auto":
        return mesh
    size = math.gcd(num_tasks, num_devices())
    if size == 1 or (jax.default_backend() == "cpu" and not kernels_adapt(learner, meta, task)):
        return None
    return make_mesh(size)


def all_devices() -> Mesh | None:
    """Return the devices that evaluations share by default, or None for one device."""
    return make_mesh() if num_devices() > 1 else None


def num_devices() -> int:
    """Return the number of devices that ``"auto"`` may use: one with several processes, or `jax_default_device`."""
    return 1 if jax.process_count() > 1 or jax.config.values["jax_default_device"] is not None else len(jax.devices())


def recommend_cores(num_tasks: int, learner: MetaLearner, meta: Variables, task: Task) -> None:
    """Log once how training would use the cores of a CPU that are idle."""
    is_idle = jax.default_backend() == "cpu" and len(jax.devices()) == 1 and num_cores() > 1 and num_tasks > 1
    if is_idle and kernels_adapt(learner, meta, task):
        _recommend(num_cores())


@cache
def _recommend(cores: int) -> None:
    _LOGGER.warning(
        "Training uses one device, but this CPU has %d cores that could share the tasks of a step. Call "
        "`jaxmeta.parallel.use_cores()` before the first array is made. `mesh=None` keeps one device.",
        cores,
    )


def _equations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """Yield the equations of a traced program and of the programs within it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in _programs(tuple(equation.params.values())):
            yield from _equations(inner)


def _programs(values: PyTree) -> Iterator[core.Jaxpr]:
    for value in values:
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
        elif isinstance(value, tuple | list):
            yield from _programs(value)


def _is_convolution(equation: core.JaxprEqn) -> bool:
    return equation.primitive.name.startswith(("conv_general_dilated", "task_conv"))


def _has_kernel_per_task(equation: core.JaxprEqn) -> bool:
    params = equation.params
    if "geo" in params:  # the task convolution: both operands have the axis of tasks, or none has
        x: Any = equation.invars[0].aval
        return x.ndim == len(params["geo"].size) + 3
    return not params["feature_group_count"] % _MANY or not params["batch_group_count"] % _MANY
