"""ProtoNet on photographs of groceries: Conv4 and ResNet-12, 5-way 5-shot, test classes of kinds never trained on.

    python benchmarks/grocery.py --data-dir DIR

Two runs of the recipe `photographs`, half an hour each on two busy cores, one seed each. Started again, they are
resumed. The split by coarse class is this library's own, so no paper has a figure.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from _report import write

RUNS = {
    "conv4": ["--num-train-ways", "10", "--num-queries", "5", "--num-steps", "800", "--test-tasks", "600"],
    "resnet12": ["--features", "16", "--num-queries", "5", "--num-steps", "700", "--test-tasks", "300"],
}


def jaxmeta(*arguments: str) -> None:
    """Run the command."""
    subprocess.run([sys.executable, "-m", "jaxmeta", *arguments], check=True)


def row(backbone: str, flags: list[str], folder: Path, data_dir: str) -> dict:
    """Return the figures of a run and its cost. Train it first, or resume it, if it has not ended."""
    about = ["--dataset", "grocery", "--data-dir", data_dir, "--backbone", backbone, *flags]
    if not (folder / "config.json").is_file():
        jaxmeta("train", "photographs", *about, "--checkpoint-every", "100", "--out", str(folder))
    elif not (folder / "results.json").is_file():
        jaxmeta("train", "--resume", str(folder))
    results = json.loads((folder / "results.json").read_text())
    seconds = json.loads((folder / "timing.jsonl").read_text().splitlines()[-1])["seconds"]
    found = {measured["name"]: measured for measured in results["rows"]}
    percent = lambda m, what: round(100 * m[what], 2)
    shown = {name: [percent(m, "mean"), percent(m, "ci95")] for name, m in found.items()}  # with the 95 % interval
    about = {"flags": " ".join(flags), "tasks": found["after adaptation"]["num_tasks"]}
    return {"backbone": backbone, **about, **shown, "minutes of training": seconds / 60}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/grocery"), help="where the two run folders go")
    o = parser.parse_args()
    write("grocery", [row(name, flags, o.out / name, o.data_dir) for name, flags in RUNS.items()])


if __name__ == "__main__":
    main()
