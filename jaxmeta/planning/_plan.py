"""Compile a meta-step ahead of time, with shapes for data, and read its needs from the program."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from ..defaults import Auto
from ..parallel import Rule, auto_mesh, layout
from ..step import as_sampler, draw_tasks, init, meta_step
from ..types import MetaLearner, MetaState, PyTree, Sampler
from ._collectives import Collective, collectives
from ._flops import flops
from ._topology import hbm


class Memory(NamedTuple):
    """Bytes on each device.

    Attributes:
      arguments: the state and the data.
      outputs: results of a step except the state, which replaces the old one.
      temporaries: the peak of arrays that are neither arguments nor outputs.
      program: the code.
    """

    arguments: int
    outputs: int
    temporaries: int
    program: int

    @property
    def total(self) -> int:
        """The sum of all."""
        return sum(self)


class Plan(NamedTuple):
    """The needs of one meta-step on each device.

    Attributes:
      devices: number of devices.
      tasks_per_step: tasks on all devices together.
      memory: bytes, or None if the compiler ran out of memory.
      limit: bytes available to a program on a device, or None if unknown.
      flops: operations of matrix products and convolutions, with all turns of loops.
      bytes_accessed: bytes read and written by all operations, cached or not, with one turn of each loop. None without
        a program.
      collectives: the communication, by kind.
      refusal: the compiler's message if it ran out of memory.
    """

    devices: int
    tasks_per_step: int
    memory: Memory | None
    limit: int | None
    flops: int
    bytes_accessed: int | None
    collectives: tuple[Collective, ...]
    refusal: str = ""

    @property
    def fits(self) -> bool | None:
        """Whether memory suffices; None if the limit is unknown."""
        if self.memory is None:
            return False
        return None if self.limit is None else self.memory.total <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as dicts, lists, texts and numbers, with `fits` and the total of memory."""
        memory = self.memory and self.memory._asdict() | {"total": self.memory.total}
        talk = [collective._asdict() for collective in self.collectives]
        return self._asdict() | {"memory": memory, "collectives": talk, "fits": self.fits}


def plan(
    learner: MetaLearner,
    sampler: Sampler,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    tasks_per_step: int,
    chunk: int | Auto | None = "auto",
    shard: Rule | None = None,
) -> Plan:
    """Compile a meta-step, sampling included, for a mesh of devices that need not be there.

    Nothing runs and no device is used. It is the step that `fit` takes with the same arguments.

    Args:
      learner, sampler, optimizer: see `meta_step`; the sampler's arrays may be `jax.ShapeDtypeStruct`.
      mesh: devices with an axis ``"task"``: see `topology`.
      tasks_per_step: tasks in a batch, over all devices.
      chunk: tasks differentiated at a time on each device: see `meta_step`.
      shard: the layout of the state on the mesh, such as `parallel.fsdp()`; replicated by default.

    Raises:
      ValueError: if ``mesh`` and ``chunk`` do not divide the number of tasks.

    Example:
      >>> import jaxmeta as jm
      >>> learner = jm.maml(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse)
      >>> mesh = jm.planning.topology("cpu:1")
      >>> needs = plan(learner, jm.tasks.sinusoid(), optax.adam(1e-3), mesh=mesh, tasks_per_step=4)
      >>> needs.devices, needs.flops > 0, needs.memory.arguments > 0
      (1, True, True)
    """
    mesh, sampler = auto_mesh(mesh), as_sampler(sampler)
    step = meta_step(learner, optimizer, chunk=chunk, mesh=mesh, shard=shard)

    def advance(state: MetaState, sampler: Sampler) -> tuple[MetaState, dict[str, Any]]:
        return step(state, draw_tasks(sampler, state, tasks_per_step, mesh))

    state = jax.eval_shape(lambda key, sampler: init(learner, sampler, optimizer, key=key), jax.random.key(0), sampler)
    arguments = _place(state, layout(state, mesh, shard)), _place(sampler, layout(sampler, mesh))
    traced = jax.jit(advance, donate_argnums=0).trace(*arguments)
    about = {"devices": mesh.size, "tasks_per_step": tasks_per_step, "limit": hbm(mesh)}
    about["flops"] = flops(traced.jaxpr.jaxpr)
    return Plan(**about, **_compiled(traced.lower().compile, mesh.size))


def _place(tree: PyTree, shardings: PyTree) -> PyTree:
    """Return shapes with their shardings."""
    return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), tree, shardings)


def _compiled(compile: Callable[[], Any], num_devices: int) -> dict[str, Any]:
    try:
        with _no_cache():
            program = compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        refusal = str(error).partition("\n")[0].removeprefix("RESOURCE_EXHAUSTED: ")
        return {"memory": None, "bytes_accessed": None, "collectives": (), "refusal": refusal}
    m = program.memory_analysis()
    outputs = m.output_size_in_bytes - m.alias_size_in_bytes
    memory = Memory(m.argument_size_in_bytes, outputs, m.temp_size_in_bytes, m.generated_code_size_in_bytes)
    accessed = int(program.cost_analysis()["bytes accessed"])
    talk = tuple(c._replace(among=c.among or num_devices) for c in collectives(program.as_text()))
    return {"memory": memory, "bytes_accessed": accessed, "collectives": talk}


@contextmanager
def _no_cache() -> Generator[None]:
    """Disable JAX's cache on disk, which keeps programs for absent devices but cannot load them."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
