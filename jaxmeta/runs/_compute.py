"""How a run is computed: devices and processes, memory, what the outer optimizer sees. Flags of every recipe."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import optax

from .. import parallel
from ..experiment import Experiment
from ..fit import Profile
from ..ranges import Count, Positive, Whole


@dataclass(frozen=True)
class Placement:
    """How a step lies on its devices, of training and in plans."""

    fsdp: bool = False
    """split large parameters and their optimizer's state over the devices, instead of a copy on each"""
    fsdp_over: Count | None = None
    """the same, over groups of so many neighbouring devices, each with a copy of all"""
    chunk: Count | None = None
    """tasks that a device differentiates at a time; by default the recipe's for such devices"""

    @property
    def shard(self) -> parallel.Rule | None:
        """Which parameters are split, or None."""
        return parallel.fsdp() if self.fsdp or self.fsdp_over else None

    def grouped(self, mesh: jax.sharding.Mesh) -> jax.sharding.Mesh:
        """The devices, in groups where they are asked for."""
        if self.fsdp_over is None:
            return mesh
        if self.fsdp_over < 1 or mesh.size % self.fsdp_over:
            raise ValueError(
                f"`--fsdp-over {self.fsdp_over}` does not divide the {mesh.size} devices that share the tasks of a "
                "step. Change one of them."
            )
        return parallel.in_groups(list(mesh.devices.flat), self.fsdp_over)

    def chunk_of(self, e: Experiment, platform: str) -> int | None:
        """Tasks differentiated at a time."""
        return e.chunk_on(platform) if self.chunk is None else self.chunk


@dataclass(frozen=True)
class Compute(Placement):
    """Knobs of the computation."""

    mesh: str | None = None
    """devices that share the tasks of a step, as `task=4`; by default as many as share them evenly"""
    accumulate: Count = 1
    """steps whose gradients are averaged into one update"""
    clip_norm: Positive | None = None
    """largest norm of a meta-gradient; larger ones are scaled down to it"""
    guard: Literal["step", "task"] = "step"
    """what is left out where numbers are not finite: the step, or single tasks at the price of memory"""
    profile: str | None = None
    """steps whose trace is written into the run folder, as 100:105"""
    distributed: bool = False
    """one of several processes, whose addresses SLURM, a Cloud TPU or Open MPI tells"""
    coordinator: str | None = None
    """host:port of process 0, where nothing tells it; with the next two"""
    num_processes: Count | None = None
    """how many processes there are"""
    process_id: Whole | None = None
    """which of them this is, from 0"""

    def start(self) -> None:
        """Joins the other processes, if there are any."""
        if self.distributed or self.coordinator is not None or self.process_id is not None:
            parallel.start(self.coordinator, self.num_processes, self.process_id)

    def kept(self) -> dict:
        """What decides the numbers that come out, and belongs into a configuration."""
        return {"accumulate": self.accumulate, "clip_norm": self.clip_norm, "guard": self.guard}

    def mesh_of(self, e: Experiment) -> jax.sharding.Mesh | None:
        """The devices that share a step's tasks, or None for one device."""
        if self.mesh is not None:
            return self.grouped(parallel.make_mesh(_size(self.mesh, e.tasks_per_step)))
        devices = len(jax.devices())
        size = math.gcd(e.tasks_per_step, devices)
        if jax.process_count() > 1 and size < devices:
            raise ValueError(f"{devices} devices cannot share the {e.tasks_per_step} tasks of a step evenly.")
        shared_kernels = jax.default_backend() == "cpu" and e.chunk_on("cpu") is None  # are fastest in one piece there
        alone = self.fsdp_over is None and (size == 1 or (shared_kernels and not self.fsdp))
        return None if alone and jax.process_count() == 1 else self.grouped(parallel.make_mesh(size))

    def profile_in(self, folder: Path) -> Profile | None:
        """The steps to trace, and where."""
        if self.profile is None:
            return None
        start, _, stop = self.profile.partition(":")
        if not (start.isdigit() and stop.isdigit() and int(start) < int(stop)):
            raise ValueError(
                f"`--profile` must be like 100:105, the first step and the one after the last, got {self.profile!r}."
            )
        return Profile(int(start), int(stop), str(folder / "profile"))

    def applied(self, e: Experiment) -> Experiment:
        """The experiment with the optimizer and the chunks that are asked for."""
        optimizer = e.optimizer
        if self.clip_norm is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)
        if self.accumulate != 1:
            optimizer = optax.MultiSteps(optimizer, self.accumulate).gradient_transformation()
        return e._replace(optimizer=optimizer, chunk=self.chunk_of(e, jax.default_backend()))


def _size(mesh: str, tasks_per_step: int) -> int:
    axis, _, size = mesh.partition("=")
    if axis != parallel.TASK or not size.isdigit():
        raise ValueError(f"`--mesh` must be like task=4, got {mesh!r}: how many devices share the tasks.")
    if int(size) and tasks_per_step % int(size):
        raise ValueError(f"`--mesh {mesh}` does not divide the {tasks_per_step} tasks of a step. Change one of them.")
    return int(size)
