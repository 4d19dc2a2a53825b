"""Train here, test there: invented characters, Omniglot and photographs of groceries in all pairs.

    python benchmarks/elsewhere.py --data-dir DIR      # with DIR/omniglot and DIR/grocery

All images are 28x28 in grey, ink and photographs from 0 to 1; 5-way, trained with 1 shot for the same time of one core,
measured with 1 and 5 on classes that were not trained on. Groceries: the data set's own splits share their classes, so
its 81 classes are divided anew, every fourth kind (apples, milk ...) being held out with all its varieties.
"""

import argparse
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optax
from _budget import trained
from _resume import resume

import jaxmeta as jm
from jaxmeta.recipes import Experiment, by_split
from jaxmeta.recipes._characters import BY_FEATURES, BY_LABELS, BY_STEPS, drawn

SOURCES = ("glyphs", "omniglot", "grocery")
ALGORITHMS = ("maml", "anil", "protonet", "r2d2", "baseline", "baseline_plus_plus", "rfs")
LAYOUT = {"num_ways": 5, "num_shots": 1, "num_queries": 5}


@cache
def groceries(data_dir: str) -> dict[str, jm.ClassSet]:
    """The photographs by split, which share no kind."""
    folder = str(Path(data_dir) / "grocery" / "grocery84_jpeg.zip")
    parts = [jm.datasets.from_folder(folder, root=root, size=28, color="gray") for root in ("train", "val", "test")]
    x = np.concatenate([part.x for part in parts])
    names = np.concatenate([np.repeat(part.names, part.count) for part in parts])
    kinds = np.array(["/".join(name.split("/")[:2]) for name in names])
    held_out = np.isin(kinds, np.unique(kinds)[::4])
    return {s: jm.datasets.from_arrays(x[w], names[w]) for s, w in (("train", ~held_out), ("test", held_out))}


@cache
def class_set(source: str, split: str, data_dir: str) -> jm.ClassSet:
    if source == "omniglot":
        return jm.datasets.omniglot("trainval" if split == "train" else split, data_dir=f"{data_dir}/omniglot")
    return drawn() if source == "glyphs" else groceries(data_dir)[split]


def sampler(source: str, split: str, data_dir: str, **layout: int) -> Any:
    if source == "glyphs":
        return jm.tasks.glyphs(split=split, **layout)
    rotate = "extra" if source == "omniglot" else None
    return jm.tasks.episodes(class_set(source, split, data_dir), rotate=rotate, **layout)


def run(source: str, algorithm: str, data_dir: str, minutes: float, num_steps: int) -> dict:
    moves, labels = algorithm in BY_STEPS, algorithm in BY_LABELS
    net = jm.backbones.Conv4(num_outputs=5 if moves else None, features=64)
    model = jm.from_linen(net, norm="transductive" if moves else "running")
    learner = (BY_STEPS | BY_FEATURES | BY_LABELS)[algorithm](model)
    train = sampler(source, "train", data_dir, **LAYOUT)
    num_steps *= 5 if labels else 1  # a mini-batch takes about a fifth of a step of 16 tasks
    if labels:
        rotate = "extra" if source == "omniglot" else None
        train = jm.tasks.batches(class_set(source, "train", data_dir), batch_size=64, rotate=rotate)
    e = Experiment(
        learner=learner,
        optimizer=optax.adam(optax.cosine_decay_schedule(2e-3, num_steps)),
        tasks=by_split(train=lambda: train, test=lambda: train),
        num_steps=num_steps,
        tasks_per_step=1 if labels else 16,
        published="",
    )
    state = trained(e, minutes)
    row = {"CPU minutes": minutes, "meta-steps": int(state.step)}
    for target in SOURCES:
        for shots in (1, 5):
            test = sampler(target, "test", data_dir, num_ways=5, num_shots=shots, num_queries=10)
            found = jm.evaluate(learner, state.meta, test, num_tasks=300)["accuracy"]
            row |= {f"{target}, {shots} shot": found.mean, f"{target}, {shots} shot ± 95 %": found.ci95}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--minutes", type=float, default=1.0, help="of training, in time of one core")
    parser.add_argument("--num-steps", type=int, default=1_000, help="where the cosine ends, if the time allows")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    o = parser.parse_args()
    items = [f"{source}/{algorithm}" for source in SOURCES for algorithm in ALGORITHMS]
    resume("elsewhere", items, lambda item: run(*item.split("/"), o.data_dir, o.minutes, o.num_steps), o.one)


if __name__ == "__main__":
    main()
