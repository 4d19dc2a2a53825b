"""Every algorithm on Omniglot for the same time: accuracy 1- and 5-shot on held-out characters.

    python benchmarks/algorithms.py --data-dir DIR --minutes 3

5-way 1-shot training by the recipe `characters`, each algorithm on one core of its own, as many at a time as there are
cores; a row is written as soon as it is there, and what is there already is not run again. Published: 5-way Omniglot,
1- and 5-shot, in per cent, at full length and each by its own protocol; of these only MAML's and ProtoNet's were read
in the paper itself.
"""

import argparse
from typing import get_args

from _budget import trained
from _resume import resume

import jaxmeta as jm
from jaxmeta.recipes import characters
from jaxmeta.recipes._characters import BY_LABELS, Algorithm

PUBLISHED = {
    "maml": "98.7 / 99.9",
    "fomaml": "98.3 / 99.2",
    "reptile": "97.7 / 99.5",
    "meta_sgd": "99.5 / 99.9",
    "imaml": "99.2 / 99.7",
    "maml_plus_plus": "99.5 / 99.9",
    "protonet": "98.8 / 99.7",
    "matching": "98.1 / 98.9",
    "relation": "99.6 / 99.8",
    "mann": "82.8 / 94.9",
}


def run(algorithm: str, data_dir: str, minutes: float, num_steps: int) -> dict:
    num_steps *= 5 if algorithm in BY_LABELS else 2 if algorithm == "reptile" else 1  # steps of fewer images
    options = {"algorithm": algorithm, "dataset": "omniglot", "data_dir": data_dir, "num_steps": num_steps}
    e = characters(**options)
    state = trained(e, minutes)
    learner = e.make_learner(num_steps=e.test_steps[-1]) if e.make_learner else e.learner
    row = {"CPU minutes": minutes, "meta-steps": int(state.step)}
    for shots, num_tasks in ((1, 400), (5, 200)):
        test = characters(**options, num_test_shots=shots).test
        found = jm.evaluate(learner, state.meta, test, num_tasks=num_tasks)["accuracy"]
        row |= {f"{shots}-shot": found.mean, f"{shots}-shot ± 95 %": found.ci95, "transductive": found.transductive}
    return {**row, "published": PUBLISHED.get(algorithm, "")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="folder of the Omniglot zips")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, in time of one core")
    parser.add_argument("--num-steps", type=int, default=2_000, help="where the cosine ends, if the time allows")
    parser.add_argument("--algorithms", nargs="+", choices=get_args(Algorithm), default=list(get_args(Algorithm)))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    o = parser.parse_args()
    resume("algorithms", o.algorithms, lambda name: run(name, o.data_dir, o.minutes, o.num_steps), o.one)


if __name__ == "__main__":
    main()
