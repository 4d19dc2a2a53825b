"""``jaxmeta plan``: the memory, arithmetic and communication of a recipe's meta-step on absent devices."""

import json as jsonlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import tyro

from jaxmeta import planning
from jaxmeta.experiment import Experiment
from jaxmeta.planning import Collective, Plan
from jaxmeta.ranges import Tasks
from jaxmeta.recipe import Recipe
from jaxmeta.runs._compute import Placement
from jaxmeta.runs._json import plain

from ._flags import Call, read
from ._results import console

BY_RECIPE = Placement()


@dataclass(frozen=True)
class Flags:
    """The flags of every plan."""

    topology: str = "v5e:4x4"
    """a slice of TPUs by its shape in chips, such as v5e:4x4 or v5p:2x2x4, or cpu:4 for four devices of this host; no
    TPU is needed"""
    tasks_per_device: Tasks | None = None
    """tasks in a meta-batch, on each device; by default the recipe's own number is divided"""
    placement: Annotated[Placement, tyro.conf.arg(name="")] = BY_RECIPE
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """print JSON in place of the table"""


def command(args: list[str]) -> Call:
    """Read the flags."""
    return Call(_plan, read("plan", Flags, args), {})


def _plan(recipe: Recipe, call: Flags, arguments: dict[str, Any]) -> int:
    """Compile a recipe's meta-step, print its needs, and return the exit code."""
    _use_the_host_only(call.topology)
    mesh = call.placement.grouped(planning.topology(call.topology))
    name, experiment = recipe.name, recipe(**arguments)
    tasks = _tasks(experiment, call, mesh.size)
    needs = planning.plan(
        experiment.learner,
        experiment.train,
        experiment.optimizer,
        mesh=mesh,
        tasks_per_step=tasks,
        chunk=experiment.chunk if call.placement.chunk is None else call.placement.chunk,
        shard=call.placement.shard,
    )
    if call.json:
        print(jsonlib.dumps(plain({"recipe": name, "topology": call.topology, **needs.as_dict()}), indent=2))
    else:
        _print(name, call.topology, needs)
    return 0


def _tasks(experiment: Experiment, call: Flags, devices: int) -> int:
    if call.tasks_per_device is not None:
        return call.tasks_per_device * devices
    if experiment.tasks_per_step % devices:
        raise ValueError(
            f"`--topology {call.topology}` has {devices} devices, which do not divide the {experiment.tasks_per_step} "
            "tasks of this recipe's step. Say how many each gets with `--tasks-per-device`."
        )
    return experiment.tasks_per_step


def _use_the_host_only(topology: str) -> None:
    """Leave accelerators to others, and make the CPU devices of the topology, if no device is in use yet."""
    kind, _, size = topology.partition(":")
    with suppress(RuntimeError):
        jax.config.update("jax_platforms", "cpu")
        if kind == "cpu" and size.isdigit():
            jax.config.update("jax_num_cpu_devices", int(size))


def _print(name: str, topology: str, needs: Plan) -> None:
    from rich.table import Table

    each = needs.tasks_per_step // needs.devices
    table = Table("on each device", "")
    table.columns[1].justify = "right"
    for row in _rows(needs):
        table.add_row(*row)
    say = console()
    say.print(f"{name} on {topology}: a meta-step of {needs.tasks_per_step:,} tasks, {each:,} on each device")
    say.print(table)


def _rows(needs: Plan) -> list[tuple[str, str]]:
    rows = [("floating-point operations of matrix products", f"{needs.flops:.3g}")]
    if needs.memory is None:
        return [*rows, ("memory: it does not fit", needs.refusal)]
    rows += [(f"memory: {part}", size(value)) for part, value in needs.memory._asdict().items()]
    verdict = "" if needs.limit is None else f" of {size(needs.limit)}: {'fits' if needs.fits else 'does not fit'}"
    rows += [("memory: total", size(needs.memory.total) + verdict)]
    rows += [("read and written, one turn of each loop", size(needs.bytes_accessed or 0))]
    talk = [(_named(c, needs.devices), size(c.bytes)) for c in needs.collectives]
    return rows + (talk or [("communication", "none")])


def _named(c: Collective, devices: int) -> str:
    among = f" among {c.among}" if c.among < devices else ""
    return f"communication: {c.count} {c.kind}{among}{' inside of a loop' if c.looped else ''}"


def size(count: float) -> str:
    """Return bytes in a unit that people read.

    Example:
      >>> size(450_076)
      '439.5 KiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.{0 if unit == 'B' else 1}f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
