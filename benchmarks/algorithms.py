"""Every algorithm on Omniglot for the same time: accuracy 1- and 5-shot on held-out characters.

    python benchmarks/algorithms.py --data-dir DIR --minutes 3

5-way 1-shot training by the recipe `characters`, each algorithm on one core of its own, as many at a time as there are
cores; a row is written as soon as it is there, and what is there already is not run again. Published: 5-way Omniglot,
1- and 5-shot, in per cent, at full length and each by its own protocol; of these only MAML's and ProtoNet's were read
in the paper itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import jax
from _resume import resume

import jaxmeta as jm
from jaxmeta.recipes import characters
from jaxmeta.recipes._characters import Algorithm

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


def run(algorithm: str, data_dir: str, minutes: float, steps: int) -> dict:
    """Trains from the command line; the row of one algorithm."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / algorithm
        flags = ["--algorithm", algorithm, "--dataset", "omniglot", "--data-dir", data_dir, "--num-steps", str(steps)]
        command = [sys.executable, "-m", "jaxmeta", "train", "characters", *flags]
        subprocess.run(
            [*command, "--minutes", str(minutes), "--test-tasks", "400", "--out", str(out)],
            check=True,
            stdout=sys.stderr,
        )
        results = json.loads((out / "results.json").read_text())
        (found,) = [r for r in results["rows"] if r["name"] == "after adaptation" and r["metric"] == "accuracy"]
        e = characters(algorithm=algorithm, dataset="omniglot", data_dir=data_dir, num_test_shots=5)
        init = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(0)).meta
        meta = jm.checkpoint.restore(out / "params", init)
        five = jm.evaluate(e.learner, meta, e.test, num_tasks=200)["accuracy"]
    return {
        "CPU minutes": minutes,
        "meta-steps": results["step"],
        "1-shot": found["mean"],
        "1-shot ± 95 %": found["ci95"],
        "5-shot": five.mean,
        "5-shot ± 95 %": five.ci95,
        "transductive": found["transductive"],
        "published": PUBLISHED.get(algorithm, ""),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="folder of the Omniglot zips")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, on one core")
    parser.add_argument("--num-steps", type=int, default=2_000, help="where the cosine ends, if the time allows")
    parser.add_argument("--algorithms", nargs="+", choices=get_args(Algorithm), default=list(get_args(Algorithm)))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    o = parser.parse_args()
    resume("algorithms", o.algorithms, lambda name: run(name, o.data_dir, o.minutes, o.num_steps), o.one)


if __name__ == "__main__":
    main()
