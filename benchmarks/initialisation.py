"""ProtoNet on Omniglot from PyTorch's initial values of 2017 and from Xavier's with scales of 1.

    python benchmarks/initialisation.py --data-dir DIR

Trained on 20 ways of the 1,028 training characters; the step size halves after each fifth of the steps. Measured
20-way 1-shot on the 172 characters left for validation, which no other figure is about.
"""

import argparse
from typing import Any, Literal

import jax
from _report import write

import jaxmeta as jm
from jaxmeta.recipes import omniglot_protonet


def row(init: Literal["torch", "xavier"], seed: int, num_steps: int, data_dir: str) -> dict:
    knobs: dict[str, Any] = {"num_train_ways": 20, "num_ways": 20, "num_test_queries": 5, "halve_every": num_steps // 5}
    e = omniglot_protonet(data_dir=data_dir, train_split="train", init=init, num_steps=num_steps, **knobs)
    state = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(seed))
    state, history = jm.fit(e.learner, e.train, e.optimizer, state, num_steps=num_steps, tasks_per_step=1, log_every=20)
    assert e.val is not None
    found = jm.evaluate(e.learner, state.meta, e.val, num_tasks=1000)["accuracy"]
    return {
        "init": init,
        "seed": seed,
        "meta-steps": num_steps,
        "accuracy in training, last tenth": float(history["accuracy"][-num_steps // 10 :].mean()),
        "accuracy, validation": found.mean,
        "95 % interval": found.ci95,
        "tasks": found.num_tasks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="folder of the Omniglot zips")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=1)
    o = parser.parse_args()
    both = lambda seed: [row(init, seed, o.steps, o.data_dir) for init in ("torch", "xavier")]
    write("initialisation", [found for seed in range(o.seeds) for found in both(seed)])


if __name__ == "__main__":
    main()
