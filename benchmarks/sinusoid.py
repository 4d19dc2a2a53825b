"""MAML on sine waves: mean squared error after 1 and 10 steps for both published inner rates, over seeds.

    python benchmarks/sinusoid.py --seeds 3

The authors' code uses the inner rate 0.001, the paper's text says 0.01. A task has diverged if its error is not
finite or exceeds that of predicting zero on the largest wave, 12.5, a hundredfold.
"""

import argparse

import jax
import numpy as np
from _report import write

import jaxmeta as jm
from jaxmeta.recipes import sinusoid_maml

LIMIT = 1250.0


def rows_of(inner_lr: float, kernel_init: str, seeds: int, num_steps: int) -> list[dict]:
    """Trains all seeds at once; a row per seed."""
    e = sinusoid_maml(inner_lr=inner_lr, kernel_init=kernel_init, num_steps=num_steps)
    keys = jax.vmap(jax.random.key)(np.arange(seeds))
    states = jm.init(e.learner, e.train, e.optimizer, key=keys)
    options = {"num_steps": e.num_steps, "tasks_per_step": e.tasks_per_step, "log_every": 1_000}
    states, _ = jm.fit(e.learner, e.train, e.optimizer, states, **options)
    return [
        {"inner rate": inner_lr, "initialisation": kernel_init, "seed": seed} | measure(e, states.meta, seed)
        for seed in range(seeds)
    ]


def measure(e, metas, seed: int) -> dict:
    meta, row = jax.tree.map(lambda a: a[seed], metas), {}
    for steps in (0, 1, 5, 10):
        values, _ = jm.task_metrics(e.make_learner(num_steps=steps), meta, e.test, num_tasks=5_000)
        error = values["mse"]
        row[f"{steps} steps"] = float(error.mean()) if np.isfinite(error).all() else "not finite"
        diverged = float(np.mean(~(error < LIMIT)))
    return row | {"10 steps, median": float(np.median(error)), "diverged at 10": diverged}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-steps", type=int, default=70_000)
    options = parser.parse_args()
    cases = [(0.001, "he"), (0.01, "he"), (0.001, "truncated_normal")]
    write("sinusoid", [row for case in cases for row in rows_of(*case, options.seeds, options.num_steps)])


if __name__ == "__main__":
    main()
