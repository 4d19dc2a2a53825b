"""What surrounds the step: sampling from Omniglot on device, and compilation with and without the cache.

    python benchmarks/end_to_end.py --data-dir DIR

The first row is `fit` over all cores, drawing its tasks, beside the same compiled step on tasks that are there already,
taking turns. The others are the five-step Conv4 step, compiled in a new process each, without a cache and from it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import jax
from _report import write
from _timing import alternate
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxmeta as jm
from jaxmeta.recipes import omniglot_maml_5w1s
from jaxmeta.step import draw_tasks


def sampling(data_dir: str, steps: int, turns: int) -> dict:
    e = omniglot_maml_5w1s(data_dir=data_dir)
    mesh = jax.make_mesh((os.cpu_count() or 1,), ("task",), axis_types=(AxisType.Auto,))
    state = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(0))
    state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    step = jax.jit(jm.meta_step(e.learner, e.optimizer, chunk=e.chunk, mesh=mesh), donate_argnums=0)
    tasks = jax.jit(lambda sampler, state: draw_tasks(sampler, state, e.tasks_per_step))(e.train, state)
    options = {
        "num_steps": steps,
        "tasks_per_step": e.tasks_per_step,
        "chunk": e.chunk,
        "mesh": mesh,
        "log_every": steps,
    }

    def bare():
        at = jax.tree.map(lambda a: a.copy(), state)
        for _ in range(steps):
            at, _ = jax.block_until_ready(step(at, tasks))

    contenders = {"bare": bare, "fit": lambda: jm.fit(e.learner, e.train, e.optimizer, state, **options)}
    times = alternate(contenders, turns=turns)
    share = times["bare"]["median"] / times["fit"]["median"]
    spread = share * sum(t["spread"] / t["median"] for t in times.values())
    return {"what": f"rate of `fit` / rate of the bare step, {steps} steps", "value": share, "spread": spread}


def compiling() -> None:
    """Run in a process of its own; prints seconds."""
    import optax

    model = jm.from_linen(jm.backbones.Conv4(num_outputs=5))
    sampler = jm.tasks.glyphs(num_ways=5, num_shots=1, num_queries=1)
    learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.1), num_steps=5)
    optimizer = optax.adam(1e-3)
    state = jm.init(learner, sampler, optimizer, key=jax.random.key(0))
    tasks = draw_tasks(sampler, state, 4)
    begin = time.perf_counter()
    jax.block_until_ready(jax.jit(jm.meta_step(learner, optimizer))(state, tasks))
    print(time.perf_counter() - begin)


def in_new_process(cache: str) -> float:
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    command = [sys.executable, __file__, "--compile-only"]
    return float(
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()[-1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder of the Omniglot zips")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--compile-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compile_only:
        return compiling()
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    rows = [sampling(options.data_dir, options.steps, options.turns)]
    for _ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            rows.append({"what": "seconds to the first five-step update, cold", "value": in_new_process(cache)})
            rows.append({"what": "the same in a second process, from the cache", "value": in_new_process(cache)})
    write("end_to_end", rows)


if __name__ == "__main__":
    main()
