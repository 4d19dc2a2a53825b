"""The run folder: what is in it, and how it is written. Everything in it is data, never code.

``config.json``       the recipe, its arguments and the seed: enough to build the experiment again
``params``            the meta-parameters that were reached
``checkpoints``       the state of training at the newest steps, to go on from
``metrics.jsonl``     a row per log interval; the same bytes for the same seed, version and machine
``timing.jsonl``      seconds and tasks per second of the same intervals
``results.json``      how training ended, the final estimates, and with what they were made
``report.html``         all of this on one page, with the pictures in it

Pictures, where the run has what they show: ``learning_curve.png``; of image classification ``episodes.png``,
``confusion.png`` (one larger held-out task) and, where classes are prototypes, ``embedding.png``; of functions
``fits.png``; of learners that adapt by steps ``adaptation_curve.png``. ``tensorboard`` and ``wandb`` hold what
``--log`` asked for.
"""

import os
import shutil
from pathlib import Path

from ..storage import is_remote
from ._json import read_json

CHECKPOINTS, METRICS, TIMING, RESULTS = "checkpoints", "metrics.jsonl", "timing.jsonl", "results.json"
REPORT, LEARNING, ADAPTATION = "report.html", "learning_curve.png", "adaptation_curve.png"
TENSORBOARD = "tensorboard"  # wandb names its own folder
EPISODES, FITS, CONFUSION, EMBEDDING = "episodes.png", "fits.png", "confusion.png", "embedding.png"


def check_out(out: Path | None) -> None:
    """Refuses a folder that holds something, before any time is spent."""
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"`--out`: {str(out)!r} exists and is not an empty folder, and nothing is overwritten. Choose another "
            "name, or remove it first; without `--out` a new folder is made under `runs`."
        )


def create(recipe: str, out: Path | None) -> Path:
    """An empty folder: ``out``, or the first of ``runs/<recipe>-<n>`` that is not taken."""
    if out is not None:
        check_out(out)
        if not is_remote(out):
            out.mkdir(parents=True, exist_ok=True)
        return out
    n = 1
    while True:
        folder = Path("runs") / f"{recipe}-{n}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            n += 1


def is_complete(folder: Path) -> bool:
    """Whether a run made all of its steps and was measured: one that its time limit ended can still go on."""
    about = read_json(path) if (path := folder / RESULTS).is_file() else {}
    return about.get("status") == "finished" and about["step"] == about["num_steps"]


def copy_training(trained: Path, folder: Path) -> None:
    """What training left in one folder, into that of a run which would train the same; at the end it stands there."""
    for name in (METRICS, TIMING):
        shutil.copyfile(trained / name, folder / name)
    temporary = folder / f".{CHECKPOINTS}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(trained / CHECKPOINTS, temporary)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    os.rename(temporary, folder / CHECKPOINTS)
