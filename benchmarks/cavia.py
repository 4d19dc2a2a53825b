"""CAVIA on sine waves: error after one step for 2 to 50 context parameters, beside MAML with the same network.

    python benchmarks/cavia.py

By the protocol of the authors' repository (lmzintgraf/cavia): amplitude 0.1 to 5, phase 0 to pi, 10 support and 10
query points in [-5, 5], two layers of 40 ReLU, 25 tasks a meta-step, 50,000 of them, Adam 1e-3 outside, one inner step
with rate 1.0 for CAVIA and 0.1 for MAML; layers start uniform within 1/sqrt(fan_in) with biases 0. Context parameters
are joined to the input. The error is the mean over --tasks new waves and then over seeds, with a 95 % interval over
seeds (Student's t).
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _report import write

import jaxmeta as jm

CONTEXTS = (5, 2, 50, 3, 10, 4)
MODEL = jm.from_linen(jm.backbones.MLP((40, 40), num_outputs=1, kernel_init="torch"))
TASKS = jm.tasks.sinusoid(num_shots=10, num_queries=10)


def learners(num_steps: int) -> dict[str, jm.MetaLearner]:
    """Return the learners by name, with so many inner steps."""
    cavia = {
        f"CAVIA, {c} context parameters": jm.cavia(
            MODEL,
            jm.losses.mse,
            layer="dense0",
            num_context=c,
            inner_optimizer=optax.sgd(1.0),
            num_steps=num_steps,
        )
        for c in CONTEXTS
    }
    maml = {
        f"MAML, rate {rate}": jm.maml(MODEL, jm.losses.mse, inner_optimizer=optax.sgd(rate), num_steps=num_steps)
        for rate in (0.1, 0.01)
    }
    return maml | cavia


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="trained at once")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--tasks", type=int, default=2_000)
    o = parser.parse_args()
    rows, optimizer = [], optax.adam(1e-3)
    keys = jax.vmap(jax.random.key)(jnp.arange(o.seeds))
    for name, learner in learners(1).items():
        states = jm.init(learner, TASKS, optimizer, key=keys)
        states, _ = jm.fit(
            learner, TASKS, optimizer, states, num_steps=o.steps, tasks_per_step=25, log_every=5_000, progress=False
        )
        row = {"learner": name, "meta-steps": o.steps, "seeds": o.seeds}
        for steps in (0, 1):
            found = jm.evaluate_seeds(learners(steps)[name], states.meta, TASKS, num_tasks=o.tasks)["mse"]
            row |= {f"after {steps} steps": found.mean, f"after {steps} steps ± 95 %": found.ci95}
        rows.append(row)
        print({k: v if isinstance(v, str) else np.round(v, 4) for k, v in row.items()}, flush=True)
        write("cavia", rows)


if __name__ == "__main__":
    main()
