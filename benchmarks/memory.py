"""Temporary memory and time of exact meta-gradients through long inner loops.

    python benchmarks/memory.py

Conv4 with 64 filters, 28x28, 5-way 1-shot, 1 query, 4 tasks at once. Contenders: plain reverse over reverse, mixed
mode, and mixed mode with every step or groups of sqrt(K) steps recomputed. Memory is what the compiler reserves for
temporaries; times are relative to mixed mode without recomputation.
"""

import argparse

import jax
import jax.numpy as jnp
import optax
from _report import write
from _timing import alternate
from _work import WORKS, Net, arrays

import jaxmeta as jm

VARIANTS = {
    "reverse": {"gradient": "reverse"},
    "mixed": {},
    "mixed, remat=1": {"remat": 1},
    'mixed, remat="sqrt"': {"remat": "sqrt"},
}
WORK = WORKS["A"]._replace(tasks=4, lr=0.01)


def compiled(num_steps: int, options: dict):
    """The compiled outer step with its arguments."""
    model, optimizer, data = jm.from_linen(Net(WORK)), optax.sgd(0.1), arrays(WORK)
    tasks = jax.tree.map(jnp.asarray, jm.Task(jm.Batch(data["xs"], data["ys"]), jm.Batch(data["xq"], data["yq"])))
    learner = jm.maml(
        model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(WORK.lr), num_steps=num_steps, **options
    )
    state = jm.init(learner, jax.tree.map(lambda a: a[0], tasks), optimizer, key=jax.random.key(0))
    step = jax.jit(jm.meta_step(learner, optimizer)).lower(state, tasks).compile()
    return step, (state, tasks)


def rows_of(num_steps: int, limit: float, turns: int) -> list[dict]:
    programs = {name: compiled(num_steps, options) for name, options in VARIANTS.items()}
    memory = {name: step.memory_analysis().temp_size_in_bytes / 2**20 for name, (step, _) in programs.items()}
    loss = {name: float(step(*args)[1]["loss"]) for name, (step, args) in programs.items() if memory[name] < limit}
    assert max(loss.values()) - min(loss.values()) < 1e-3 * abs(loss["mixed"]), loss
    call = lambda step, args: lambda: jax.block_until_ready(step(*args))
    times = alternate({name: call(*programs[name]) for name in loss}, turns=turns)
    base = times["mixed"]["median"]
    return [
        {
            "inner steps": num_steps,
            "gradient": name,
            "temporary MiB": round(memory[name], 1),
            "time / mixed": times[name]["median"] / base if name in times else None,
            "spread": times[name]["spread"] / base if name in times else None,
        }
        for name in VARIANTS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 5, 16, 64, 256])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--limit", type=float, default=8_000.0, help="MiB; what needs more is compiled but not run")
    options = parser.parse_args()
    write("memory", [row for k in options.steps for row in rows_of(k, options.limit, options.turns)])


if __name__ == "__main__":
    main()
