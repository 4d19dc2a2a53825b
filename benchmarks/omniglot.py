"""MAML and ProtoNet on real Omniglot, so many minutes of training each, on 1,000 held-out tasks.

    python benchmarks/omniglot.py --data-dir DIR --minutes 20

Runs `jaxmeta train` as a user would, one recipe after the other; nothing else should run beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _report import write

RECIPES = {
    "omniglot_maml_5w1s": ["--schedule", "cosine", "--num-steps", "10000", "--resize", "antialias"],
    "omniglot_protonet_5w1s": [],
}


def run(recipe: str, data_dir: str, minutes: float, seed: int, out: Path) -> dict:
    flags = [
        *RECIPES[recipe],
        "--data-dir",
        data_dir,
        "--minutes",
        str(minutes),
        "--seed",
        str(seed),
        "--out",
        str(out),
    ]
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "jaxmeta", "train", recipe, *flags], check=True)
    results = json.loads((out / "results.json").read_text())
    found = {row["name"]: row for row in results["rows"] if row["metric"] == "accuracy"}
    final = [row for name, row in found.items() if name.startswith("after")][-1]
    return {
        "recipe": " ".join([recipe, *RECIPES[recipe]]),
        "seed": seed,
        "minutes of training": minutes,
        "minutes in all": (time.perf_counter() - begin) / 60,
        "meta-steps": results["step"],
        "accuracy": final["mean"],
        "95 % interval": final["ci95"],
        "tasks": final["num_tasks"],
        "transductive": final["transductive"],
        "published": results["published"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="folder of the Omniglot zips")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        make = lambda recipe: run(recipe, options.data_dir, options.minutes, options.seed, Path(work) / recipe)
        rows = [make(recipe) for recipe in options.recipes]
    write("omniglot", rows)


if __name__ == "__main__":
    main()
