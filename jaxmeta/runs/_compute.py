"""The computation of a run: devices and processes, memory, and the outer optimizer's gradients."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import optax

from .. import parallel
from ..defaults import chosen_mesh
from ..experiment import Experiment
from ..fit import Profile
from ..ranges import Count, Positive, Whole
from ._limits import check_limits


@dataclass(frozen=True)
class Placement:
    """The layout of a step over its devices, in training and in plans."""

    fsdp: bool = False
    """split large parameters and their optimizer's state over the devices, instead of a copy on each"""
    fsdp_over: Count | None = None
    """the same, over groups of so many neighbouring devices, each with a copy of all"""
    chunk: Count | None = None
    """tasks that a device differentiates at a time; by default one on a CPU where kernels of convolutions adapt, else
    all"""

    @property
    def shard(self) -> parallel.Rule | None:
        """The rule that says which parameters are split, or None."""
        return parallel.fsdp() if self.fsdp or self.fsdp_over else None

    def grouped(self, mesh: jax.sharding.Mesh) -> jax.sharding.Mesh:
        """Return the mesh with its devices in groups of ``fsdp_over``."""
        if self.fsdp_over is None:
            return mesh
        if self.fsdp_over < 1 or mesh.size % self.fsdp_over:
            raise ValueError(
                f"`fsdp_over` is {self.fsdp_over}, which does not divide the {mesh.size} devices that share the "
                "tasks of a step. Change one of them."
            )
        return parallel.in_groups(list(mesh.devices.flat), self.fsdp_over)


@dataclass(frozen=True)
class Compute(Placement):
    """The devices, memory and gradients of a run; the flags of every recipe."""

    mesh: str | None = None
    """devices that share the tasks of a step, as `task=4`; by default as many as share them evenly"""
    accumulate: Count = 1
    """steps whose gradients are averaged into one update"""
    clip_norm: Positive | None = None
    """largest norm of a meta-gradient; larger ones are scaled down to it"""
    guard: Literal["step", "task"] = "step"
    """leave out the whole step where numbers are not finite, or single tasks at the price of memory"""
    profile: str | None = None
    """steps whose trace is written into the run folder, as 100:105"""
    distributed: bool = False
    """this is one of several processes, with addresses from SLURM, a Cloud TPU or Open MPI"""
    coordinator: str | None = None
    """host:port of process 0, if the environment does not give it; with the next two"""
    num_processes: Count | None = None
    """number of processes"""
    process_id: Whole | None = None
    """index of this process, from 0"""

    def start(self) -> None:
        """Join the other processes, if there are any and this process has not joined them yet."""
        several = self.distributed or self.coordinator is not None or self.process_id is not None
        if several and not jax.distributed.is_initialized():
            parallel.start(self.coordinator, self.num_processes, self.process_id)

    def check(self, e: Experiment) -> None:
        """Check every number before anything is made.

        Raises:
          ValueError: naming the field, its value, and its range.
        """
        for name in ("accumulate", "chunk", "fsdp_over"):
            if (value := getattr(self, name)) is not None:
                check_number(name, value, least=1)
        check_limits(e, self.accumulate)
        self._check_step(e)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, above=0)
        self.profile_in(Path())
        self.mesh_of(self.applied(e))

    def _check_step(self, e: Experiment) -> None:
        default = Compute()
        fixed = ("accumulate", "chunk", "clip_norm", "guard", "fsdp", "fsdp_over")
        changed = [name for name in fixed if getattr(self, name) != getattr(default, name)]
        if e.step is not None and changed:
            raise ValueError(
                f"`{changed[0]}` is {getattr(self, changed[0])!r}, but this experiment has an outer step of its own, "
                "which has no such setting. Leave it out."
            )

    def kept(self) -> dict[str, Any]:
        """Return the fields that decide the numbers of a run, for its configuration."""
        return {"accumulate": self.accumulate, "clip_norm": self.clip_norm, "guard": self.guard}

    def with_kept(self, kept: Mapping[str, Any]) -> "Compute":
        """Return these fields, with those that decide the numbers taken from a run's configuration."""
        return replace(self, **kept)

    def mesh_of(self, e: Experiment) -> jax.sharding.Mesh | None:
        """Return the devices that share a step's tasks, or None for one device."""
        if self.mesh is not None:
            return self.grouped(parallel.make_mesh(_size(self.mesh, e.tasks_per_step)))
        devices = len(jax.devices())
        size = math.gcd(e.tasks_per_step, devices)
        if jax.process_count() > 1 and size < devices:
            raise ValueError(
                f"`tasks_per_step` is {e.tasks_per_step}, which {devices} devices cannot share evenly. Choose a "
                "multiple."
            )
        if jax.process_count() > 1 or self.fsdp_over is not None or (self.fsdp and size > 1):
            return self.grouped(parallel.make_mesh(size))
        if e.step is not None:
            return None
        task = e.example
        meta = jax.eval_shape(e.learner.init, jax.random.key(0), task)
        return chosen_mesh("auto", e.tasks_per_step, e.learner, meta, task)

    def profile_in(self, folder: Path) -> Profile | None:
        """Return the steps to trace, and the folder for the trace."""
        if self.profile is None:
            return None
        start, _, stop = self.profile.partition(":")
        if not (start.isdigit() and stop.isdigit() and int(start) < int(stop)):
            raise ValueError(
                f"`profile` must be like 100:105, the first step and the one after the last, got {self.profile!r}."
            )
        return Profile(int(start), int(stop), str(folder / "profile"))

    def applied(self, e: Experiment) -> Experiment:
        """Return the experiment with this clipping, accumulation and chunk."""
        optimizer = e.optimizer
        if self.clip_norm is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)
        if self.accumulate != 1:
            optimizer = optax.MultiSteps(optimizer, self.accumulate).gradient_transformation()
        return e._replace(optimizer=optimizer, chunk=e.chunk if self.chunk is None else self.chunk)


def check_number(
    name: str, value: float, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> None:
    """Raise ValueError unless a number is finite and in range.

    Example:
      >>> check_number("accumulate", 0, least=1)
      Traceback (most recent call last):
      ...
      ValueError: `accumulate` must be at least 1, got 0.
    """
    if not (math.isfinite(value) and least <= value <= most and value > above):
        bounds = {"at least": least, "more than": above, "at most": most}
        words = [f"{word} {bound}" for word, bound in bounds.items() if math.isfinite(bound)]
        raise ValueError(f"`{name}` must be {' and '.join(words) or 'a finite number'}, got {value}.")


def _size(mesh: str, tasks_per_step: int) -> int:
    axis, _, size = mesh.partition("=")
    if axis != parallel.TASK or not size.isdigit():
        raise ValueError(f"`mesh` must be like task=4, the number of devices that share the tasks, got {mesh!r}.")
    if int(size) and tasks_per_step % int(size):
        raise ValueError(
            f"`mesh` is {mesh}, which does not divide the {tasks_per_step} tasks of a step. Change one of them."
        )
    return int(size)
