"""One process of a run over several devices or processes: trains, and saves what it reached. Started by tests."""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmeta as jm
from jaxmeta import parallel
from jaxmeta.step import draw_tasks


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--data-dir", required=True, help="folder of the Omniglot zips")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--id", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--fsdp-over", type=int, help="devices of a group that splits parameters")
    parser.add_argument("--streamed", action="store_true")
    o = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", o.devices)
    jax.config.update("jax_enable_x64", not o.float32)
    if o.processes > 1:
        parallel.start(f"127.0.0.1:{o.port}", o.processes, o.id)
    mesh = parallel.make_mesh(fsdp=o.fsdp_over) if o.devices * o.processes > 1 else None
    shard = parallel.fsdp(min_size=64) if o.fsdp or o.fsdp_over else None
    data = jm.datasets.omniglot("val", data_dir=o.data_dir)
    make = jm.tasks.streamed if o.streamed else jm.tasks.episodes
    sampler = make(data, num_ways=5, num_shots=1, num_queries=2, rotate="extra")
    model = jm.from_linen(jm.backbones.Conv4(num_outputs=5, features=8))
    learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.4), num_steps=1)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    state = jm.init(learner, sampler, optimizer, key=jax.random.key(0))
    if not o.float32:
        state = jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, state)
    at_first = jax.jit(lambda sampler, state: draw_tasks(sampler, state, 4, mesh))
    tasks = at_first(parallel.place(sampler, mesh), parallel.place(state, mesh))
    options = {"num_steps": o.steps, "tasks_per_step": 4, "log_every": 20, "mesh": mesh, "shard": shard}
    state, history = jm.fit(learner, sampler, optimizer, state, **options)
    few = o.steps < 20  # then the accuracy tells nothing, and its program takes long to compile
    found = jm.evaluate(learner, state.meta, sampler, num_tasks=10, mesh=mesh)["accuracy"].mean if not few else 0.0
    whole = parallel.place(state.meta.params, mesh)
    local = lambda a: np.concatenate([np.asarray(s.data) for s in sorted(a.addressable_shards, key=lambda s: s.index)])
    rows = {f"params/{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(whole))}
    rows |= {f"tasks/{i}": local(leaf) for i, leaf in enumerate(jax.tree.leaves(tasks))}
    spread = {str(leaf.sharding.spec) for leaf in jax.tree.leaves(state.meta) if mesh is not None}
    rows |= {"loss": history["loss"], "accuracy": np.array(found), "spread": np.array(sorted(spread))}
    np.savez(o.out, **rows)


if __name__ == "__main__":
    main()
