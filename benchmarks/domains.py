"""Leave one domain out: train on the union of the others, measure 5-way 5-shot on the one that training has not seen.

    python benchmarks/domains.py --data-dir DIR      # with DIR/omniglot and DIR/grocery

Domains: invented characters, Omniglot, photographs of groceries, and scikit-learn's digits (8x8, enlarged), all 28x28
in grey. Training is 5-way 1-shot on training classes of three domains, four stride-2 convolutions; measured on classes
of the fourth, the same tasks for all. `feature-wise` is ProtoNet trained with noise of scale and shift behind every
BatchNorm (`feature_wise`). TIM and PT-MAP predict all queries of a task at once, with the embedding of ProtoNet: they
are transductive, and PT-MAP assumes classes of equal size. Intervals are over tasks; one seed. The last column is the
rank averaged over domains, in which methods share a rank unless they differ beyond their intervals.
"""

import argparse
from typing import Any

import jax
import numpy as np
import optax
from _report import write
from elsewhere import SOURCES, sampler
from sklearn.datasets import load_digits

import jaxmeta as jm

NAMES = (*SOURCES, "digits")
NORMS = ("norm0", "norm1", "norm2", "norm3")
MODEL = jm.from_linen(jm.backbones.Conv4(features=32), norm="running")
TRAINED = {"ProtoNet": jm.protonet(MODEL), "feature-wise": jm.protonet(jm.feature_wise(MODEL, NORMS))}
HEADS = {"TIM": jm.tim(MODEL, num_steps=200, learning_rate=1e-3), "PT-MAP": jm.pt_map(MODEL)}


def domain(name: str, split: str, data_dir: str, **layout: int) -> Any:
    if name != "digits":
        return sampler(name, split, data_dir, **layout)
    found: Any = load_digits()
    images = np.uint8(np.round(255 / 16 * np.pad(found.images.repeat(3, 1).repeat(3, 2), ((0, 0), (2, 2), (2, 2)))))
    return jm.tasks.episodes(jm.datasets.from_arrays(images[..., None], found.target), **layout)


def one(held_out: str, data_dir: str, steps: int, num_tasks: int) -> dict[str, jm.Estimate]:
    """Return the accuracy of each method on a domain that was held out."""
    layout = {"num_ways": 5, "num_shots": 1, "num_queries": 5}
    every = jm.tasks.domains({name: domain(name, "train", data_dir, **layout) for name in NAMES})
    train, found = every.without(held_out), {}
    test = domain(held_out, "test", data_dir, num_ways=5, num_shots=5, num_queries=10)
    measure = lambda learner, meta: jm.evaluate(learner, meta, test, num_tasks=num_tasks)["accuracy"]
    for name, learner in TRAINED.items():
        optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
        state = jm.init(learner, train, optimizer, key=jax.random.key(0))
        state, _ = jm.fit(learner, train, optimizer, state, num_steps=steps, tasks_per_step=8, progress=False)
        found[name] = measure(learner, state.meta)
        if name == "ProtoNet":
            found |= {head: measure(head_learner, state.meta) for head, head_learner in HEADS.items()}
    print(held_out, found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--tasks", type=int, default=300)
    o = parser.parse_args()
    table: dict[str, dict[str, jm.Estimate]] = {}
    for name in NAMES:
        for method, estimate in one(name, o.data_dir, o.steps, o.tasks).items():
            table.setdefault(method, {})[name] = estimate
        ranks = jm.average_ranks(table)
        rows = [{"method": method} for method in table]
        for row in rows:
            for domain_name, e in table[row["method"]].items():
                row |= {domain_name: e.mean, f"{domain_name} ± 95 %": e.ci95, "transductive": e.transductive}
            row["rank"] = ranks[row["method"]]
        write("domains", rows)


if __name__ == "__main__":
    main()
