"""Tasks from the host, beside tasks drawn on the device: their rates, and the memory that a class set of 50 GB takes.

    python benchmarks/streaming.py --data-dir DIR

The first rows are `fit` on Omniglot, end to end, with the images on the device and on the host. They take turns, each
going on from where it was, and must end with the same parameters, bit for bit; then the same tasks without a learner.
The last row reads a file of 50 GB in a process of its own, whose memory is measured. The file is sparse, so that it
takes no disk; its pages are mapped and read as any other's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from _report import write
from _timing import alternate

import jaxmeta as jm
from jaxmeta import runs
from jaxmeta.recipes import omniglot_maml_5w1s, omniglot_protonet_5w1s
from jaxmeta.step import draw_tasks

RECIPES = {"protonet": omniglot_protonet_5w1s, "MAML": omniglot_maml_5w1s}
CLASSES, EACH, SIDE, TASKS = 50_000, 20, 224, 16
on_device = jax.jit(draw_tasks, static_argnums=2)


def omniglot(name: str, data_dir: str, steps: int, turns: int) -> Iterator[dict[str, Any]]:
    e = RECIPES[name](data_dir=data_dir)
    samplers = {"device": e.train, "host": on_host(e.train)}
    start = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(0))
    states, mesh = dict.fromkeys(samplers, start), runs.Compute().mesh_of(e)

    def train(where: str, steps: int) -> None:
        state, options = states[where], {"tasks_per_step": e.tasks_per_step, "chunk": e.chunk, "mesh": mesh}
        options |= {"num_steps": int(state.step) + steps, "log_every": steps}
        states[where], _ = jm.fit(e.learner, samplers[where], e.optimizer, state, **options)

    def draw(where: str, steps: int) -> None:
        if where == "host":
            stacks = jm.feed(samplers[where], start, num_steps=steps, tasks_per_step=e.tasks_per_step)
        else:
            each = (start._replace(step=np.int32(i)) for i in range(steps))
            stacks = (on_device(samplers[where], state, e.tasks_per_step) for state in each)
        for stack in stacks:
            jax.block_until_ready(stack)

    what = f"{name}, {e.train.layout.num_ways[0]} ways, {e.tasks_per_step} tasks a step"
    for part, run, n in (("training", train, steps), ("tasks alone", draw, 20 * steps)):
        times = alternate({where: partial(run, where, n) for where in samplers}, turns=turns)
        yield {"what": f"{part}: {what}", **rates(times, n * e.tasks_per_step)}
    jax.tree.map(np.testing.assert_array_equal, *(state[:3] for state in states.values()))


def on_host(sampler: Any) -> Any:
    """The sampler of the same tasks, streamed."""
    data = jm.ClassSet(*map(np.asarray, (sampler.x, sampler.start, sampler.count)), ())
    return jm.tasks.streamed(data, **sampler.layout._asdict(), rotate=sampler.rotate)


def rates(times: dict[str, dict], num_tasks: int) -> dict[str, Any]:
    """Tasks per second, and per second of a core; shares are those of the host's rate in the device's."""
    found: dict[str, Any] = {"turns": times["host"]["turns"]}
    for unit, median, spread in (("s", "median", "spread"), ("core s", "cpu", "cpu_spread")):
        found |= {f"{where}, tasks/{unit}": num_tasks / t[median] for where, t in times.items()}
        found[f"share, {unit}"] = share = times["device"][median] / times["host"][median]
        found[f"±, {unit}"] = share * sum(t[spread] / t[median] for t in times.values())
    return found


def large(steps: int) -> None:
    """Run in a process of its own: reads tasks of 160 images from a file, trains on some, and prints a row."""
    with tempfile.NamedTemporaryFile() as file:
        x = np.memmap(file.name, np.uint8, "w+", shape=(CLASSES * EACH, SIDE, SIDE, 1))
        data = jm.ClassSet(x, EACH * np.arange(CLASSES), np.full(CLASSES, EACH), ())
        sampler = jm.tasks.streamed(data, num_ways=5, num_shots=1, num_queries=1, rotate="extra")
        learner = jm.protonet(jm.from_linen(jm.backbones.Conv4(features=8)))
        state = jm.init(learner, sampler, optax.adam(1e-3), key=jax.random.key(0))
        found = {"file, GB": x.nbytes / 1e9, "of it on disk, GB": on_disk(file.name), "peak before, MB": peak()}
        begin = time.perf_counter()
        for stack in jm.feed(sampler, state, num_steps=steps, tasks_per_step=TASKS):
            jax.block_until_ready(stack)
        found |= {"tasks alone, tasks/s": steps * TASKS / (time.perf_counter() - begin), "peak with tasks, MB": peak()}
        _, history = jm.fit(learner, sampler, optax.adam(1e-3), state, num_steps=steps // 50, tasks_per_step=TASKS)
        assert np.isfinite(history["loss"]).all()
        read = (steps + steps // 50) * TASKS * 10 * SIDE * SIDE
        print(json.dumps({**found, "peak after training, MB": peak(), "read, GB": read / 1e9}))


def peak() -> float:
    """The most memory that this process ever had, mapped files included; `ru_maxrss` begins at its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def on_disk(path: str) -> float:
    return os.stat(path).st_blocks * 512 / 1e9


def in_new_process(steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--large-only", "--large-steps", str(steps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder of the Omniglot zips")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--large-steps", type=int, default=1_500)
    parser.add_argument("--large-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.large_only:
        return large(options.large_steps)
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    rows = [r for name in RECIPES for r in omniglot(name, options.data_dir, options.steps, options.turns)]
    rows.append({"what": "a file larger than memory", **in_new_process(options.large_steps)})
    write("streaming", rows)


if __name__ == "__main__":
    main()
