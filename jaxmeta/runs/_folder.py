"""The files of a run folder. All of them are data, never code.

``config.json``       the recipe, its arguments and the seed: enough to build the experiment again
``params``            the meta-parameters that were reached
``checkpoints``       the state of training at the newest steps, from which a run is resumed
``metrics.jsonl``     a row per log interval; the same bytes for the same seed, version and machine
``timing.jsonl``      seconds and tasks per second of the same intervals
``results.json``      the end of training, the final estimates, and the versions and hardware that made them; its status
                      ``"finished"`` is written last of all
``report.html``       all of this on one page, with the pictures in it
``.owner.json``       while a process trains: its host, number and start; see `_owner`

Pictures: ``learning_curve.png``; of image classification ``episodes.png``, ``reliability.png``,
``confusion.png`` (one larger held-out task) and, where classes are prototypes, ``embedding.png``; of functions
``fits.png``; of learners that adapt by steps ``adaptation_curve.png``. ``tensorboard`` and ``wandb`` hold further
logs.
"""

import os
import shutil
from pathlib import Path

from ..storage import check_entry, check_tree, is_remote
from ._json import read_object
from ._owner import OWNER

CHECKPOINTS, METRICS, TIMING, RESULTS = "checkpoints", "metrics.jsonl", "timing.jsonl", "results.json"
REPORT, LEARNING, ADAPTATION = "report.html", "learning_curve.png", "adaptation_curve.png"
TENSORBOARD = "tensorboard"  # wandb names its own folder
EPISODES, FITS, CONFUSION, EMBEDDING = "episodes.png", "fits.png", "confusion.png", "embedding.png"
RELIABILITY = "reliability.png"


def check_inside(folder: Path) -> None:
    """Check that a run folder, which may be a stranger's, leads nowhere else.

    Symbolic links and special files (pipes, devices) are refused at its top and anywhere within its checkpoints.
    The logs of other programs are checked at the top alone: their links are never followed.

    Raises:
      ValueError: naming the file.
    """
    if is_remote(folder) or not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            check_entry(entry)
    for name in (CHECKPOINTS, "params"):
        check_tree(folder / name)


def make(folder: Path) -> None:
    """Make a new run folder, or accept an empty one.

    Raises:
      ValueError: if it holds something.
    """
    check_new(folder)
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def check_new(folder: Path) -> None:
    """Raise ValueError if a folder holds something: nothing is overwritten."""
    if folder.exists() and (not folder.is_dir() or any(path.name != OWNER for path in folder.iterdir())):
        raise ValueError(
            f"`folder`: {str(folder)!r} exists and is not an empty folder, and nothing is overwritten. Choose another "
            "name, or remove it first."
        )


def next_free(recipe: str) -> Path:
    """Make the first folder ``runs/<recipe>-<n>`` that does not exist yet, and return it."""
    n = 1
    while True:
        folder = Path("runs") / f"{recipe}-{n}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            n += 1


def is_complete(folder: Path) -> bool:
    """Return whether a run made all of its steps and was measured; a run that its time limit ended can continue."""
    results = read_object(path) if (path := folder / RESULTS).is_file() else {}
    return results.get("status") == "finished" and results.get("step") == results.get("num_steps")


def copy_training(trained: Path, folder: Path) -> None:
    """Move a finished training run into the folder of a run with the same configuration."""
    for name in (METRICS, TIMING):
        shutil.copyfile(trained / name, folder / name)
    temporary = folder / f".{CHECKPOINTS}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(trained / CHECKPOINTS, temporary)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    os.rename(temporary, folder / CHECKPOINTS)
