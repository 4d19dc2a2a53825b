"""Recommendation in the cold: four situations, on an invented world and on MovieLens 100K.

    python benchmarks/ratings.py                                # the invented world
    python benchmarks/ratings.py --data-dir ml-100k --name movielens_100k

Learners and protocol are those of the recipe `ratings`, --steps meta-steps each. A seed decides the parameters, and who
and what is new. Each row is the mean over --users users (drawn with repetition, the same ones for all methods), then
over seeds, with a 95 % interval over seeds (Student's t). `without` is the same trained learner that is shown no rating
of the user (the processes, which never met an empty set in training, have no such row); `joint` is MeLU's network
trained to predict without adaptation.

MovieLens is downloaded from grouplens.org by hand; its licence forbids to pass it on.
"""

import argparse
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from _report import RESULTS, write
from scipy.stats import t as student

import jaxmeta as jm
from jaxmeta.recipes import ratings
from jaxmeta.recipes._ratings import METRICS, Algorithm, Situation, divided, measured
from jaxmeta.settings import Points

SITUATIONS = get_args(Situation)
POINTS = Points(num_queries=10, num_test_queries=10)
RATES = {"bias": 1e-2, "factorisation": 1e-2, "alpaca": 3e-3}  # of the outer Adam; others take the recipe's


def unadapted(learner: jm.MetaLearner) -> jm.MetaLearner:
    """Return the learner that is shown nothing: all support ratings have weight 0."""

    def adapt(meta, support, key=None):
        return learner.adapt(meta, support._replace(weight=jnp.zeros(support.y.shape[0])), key)

    return learner._replace(adapt=adapt)


def one_seed(method: str, data_dir: str | None, data, seed: int, steps: int, users: int) -> dict[str, dict]:
    """Return method -> situation -> metric -> mean, with and without adaptation."""
    algorithm = "melu" if method == "joint" else method
    options = {"num_steps": steps, "data_dir": data_dir, "meta_lr": RATES.get(method, 1e-3)}
    e = ratings(algorithm=algorithm, **options)
    parts = divided(data, seed)
    learner = e.make_learner(num_steps=0) if method == "joint" else e.learner
    train = jm.tasks.ratings(parts.train, **POINTS.layout())
    state = jm.init(learner, train, e.optimizer, key=jax.random.key(seed))
    state, _ = jm.fit(
        learner, train, e.optimizer, state, num_steps=steps, tasks_per_step=e.tasks_per_step, progress=False
    )
    candidates = {method: (learner, state.meta)}
    if method != "joint" and "process" not in method:
        candidates[f"{method}, without"] = unadapted(learner), state.meta
    if method == "bias":  # once a seed
        for name, beside in e.beside.items():
            candidates[name] = beside, beside.init(jax.random.key(0), train(jax.random.key(0)))
    found = {}
    for name, (candidate, meta) in candidates.items():
        for situation in SITUATIONS:
            test = measured(parts, situation, POINTS)
            estimates = jm.evaluate(candidate, meta, test, num_tasks=users, metrics=METRICS)
            found.setdefault(name, {})[situation] = {metric: e.mean for metric, e in estimates.items()}
        print(seed, name, {s: f"{m['MAE']:.3f} {m['nDCG@5']:.3f}" for s, m in found[name].items()}, flush=True)
    return found


def over_seeds(values: list[float]) -> tuple[float, float]:
    mean, n = float(np.mean(values)), len(values)
    return mean, float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5) if n > 1 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder or zip of MovieLens; without it, the invented world")
    parser.add_argument("--name", default="invented", help="of the data, in the results")
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--methods", nargs="+", default=["bias", "joint", *get_args(Algorithm)[:-1]])
    o = parser.parse_args()
    data = None if o.data_dir is None else jm.datasets.ratings(o.data_dir)
    found: dict[str, list[dict]] = {}
    for seed in range(o.seeds):
        for method in o.methods:
            for name, values in one_seed(method, o.data_dir, data, seed, o.steps, o.users).items():
                found.setdefault(name, []).append(values)
        rows = []
        for situation in SITUATIONS:
            for name, seeds in found.items():
                row = {"situation": situation, "method": name, "seeds": len(seeds)}
                for metric in METRICS:
                    row[metric], row[f"{metric} ± 95 %"] = over_seeds([s[situation][metric] for s in seeds])
                if f"{name}, without" in found:
                    pairs = zip(seeds, found[f"{name}, without"], strict=True)
                    gain = [a[situation]["MAE"] - b[situation]["MAE"] for a, b in pairs]
                    row["MAE, adapted less without"], row["± 95 %"] = over_seeds(gain)
                rows.append(row)
        write(f"ratings_{o.name}", rows)
    print(RESULTS / f"ratings_{o.name}.json")


if __name__ == "__main__":
    main()
