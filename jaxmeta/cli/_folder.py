"""The run folder: what is in it, and how it is written and read. Everything in it is data, never code.

``config.json``       the recipe, its arguments and the seed: enough to build the experiment again
``params``            the meta-parameters that were reached
``checkpoints``       the state of training at the newest steps, to go on from
``metrics.jsonl``     a row per log interval; the same bytes for the same seed, version and machine
``timing.jsonl``      seconds and tasks per second of the same intervals
``results.json``      how training ended, and the final estimates
``report.html``         all of this on one page, with the pictures in it

Pictures, where the run has what they show: ``learning_curve.png``; of image classification ``episodes.png``,
``confusion.png`` (one larger held-out task) and, where classes are prototypes, ``embedding.png``; of functions
``fits.png``; of learners that adapt by steps ``adaptation_curve.png``. ``tensorboard`` and ``wandb`` hold what
``--log`` asked for.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax

from jaxmeta.datasets._files import write_whole

from ._names import check_arguments, near

FORMAT = 1
PARAMS, CHECKPOINTS, CONFIG = "params", "checkpoints", "config.json"
METRICS, TIMING, RESULTS = "metrics.jsonl", "timing.jsonl", "results.json"
REPORT, LEARNING, ADAPTATION = "report.html", "learning_curve.png", "adaptation_curve.png"
TENSORBOARD = "tensorboard"  # wandb names its own folder
EPISODES, FITS, CONFUSION, EMBEDDING = "episodes.png", "fits.png", "confusion.png", "embedding.png"
MAX_BYTES = 1 << 20  # of a configuration that is read


class Config(NamedTuple):
    """What a run was asked to do."""

    recipe: str
    arguments: dict[str, Any]
    seed: int
    checkpoint_every: int = 500
    compute: Mapping[str, Any] = MappingProxyType({})


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


def write_config(folder: Path, config: Config, num_steps: int) -> None:
    from jaxmeta import __version__

    about = {
        "format": FORMAT,
        **config._asdict(),
        "num_steps": num_steps,
        "jaxmeta": __version__,
        "jax": jax.__version__,
    }
    write_json(folder / CONFIG, about)


def read_config(folder: Path) -> Config:
    """The configuration of a run, checked against the recipes there are.

    Raises:
      ValueError: if there is none, or it is damaged, or names a recipe or argument that does not exist.
    """
    from jaxmeta.recipes import RECIPES

    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(
            f"{str(folder)!r} is not a run folder: it has no {CONFIG}. Pass a folder that `jaxmeta train` made."
        )
    about, where = _read_json(path), repr(str(path))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else about
        raise ValueError(f"{where} has format {found!r}; this version of jaxmeta reads format {FORMAT}.")
    recipe, arguments, seed = (about.get(name) for name in Config._fields[:3])
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise ValueError(f"{where}: there is no recipe {recipe!r}; {near(str(recipe), RECIPES)}")
    if not isinstance(arguments, dict):
        raise ValueError(f"{where}: `arguments` must be an object, got {arguments!r}.")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"{where}: `seed` must be a whole number, got {seed!r}.")
    check_arguments(RECIPES[recipe], arguments, where)
    every, compute = about.get("checkpoint_every", 500), about.get("compute", {})
    check_arguments(_how, {"checkpoint_every": every, **(compute if isinstance(compute, dict) else {})}, where)
    return Config(recipe, arguments, seed, every, compute)


def _how(checkpoint_every: int, accumulate: int, clip_norm: float | None, guard: Literal["step", "task"]) -> None:
    """The types of what a configuration says beside the recipe's arguments."""


def build(run: Path, data_dir: str | None) -> tuple[Any, Config]:
    """The experiment of a run, made again.

    Raises:
      ValueError: as `read_config`, and for a ``data_dir`` that the recipe does not take.
    """
    from jaxmeta.recipes import RECIPES

    config = read_config(run)
    arguments = dict(config.arguments)
    if data_dir is not None:
        if "data_dir" not in arguments:
            raise ValueError(f"`--data-dir`: the recipe {config.recipe} reads no data.")
        arguments["data_dir"] = data_dir
    return RECIPES[config.recipe](**arguments), config


def is_complete(folder: Path) -> bool:
    """Whether a run made all of its steps and was measured: one that its time limit ended can still go on."""
    about = _read_json(path) if (path := folder / RESULTS).is_file() else {}
    return about.get("status") == "finished" and about["step"] == about["num_steps"]


def rows_until(folder: Path, step: int) -> list[dict[str, Any]]:
    """The rows of the metrics up to a step; those after it, which a run that goes on will write again, are removed."""
    kept = {path: _lines_until(path, step) for path in (folder / METRICS, folder / TIMING) if path.is_file()}
    for path, lines in kept.items() if jax.process_index() == 0 else ():
        _rewrite(path, lines)
    return [json.loads(line) for line in kept.get(folder / METRICS, ())]


def _lines_until(path: Path, step: int) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines(keepends=True) if _at(line) <= step]


def _rewrite(path: Path, lines: list[bytes]) -> None:
    def write(file) -> None:
        file.writelines(lines)

    write_whole(path, write)


def _at(line: bytes) -> float:
    """The step of a row; a line that was cut short has none."""
    try:
        return json.loads(line)["step"] if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def write_json(path: Path, value: Any) -> None:
    """Writes a file entirely or not at all."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(file) -> None:
        file.write(text.encode())

    write_whole(path, write)


def append(path: Path, row: Mapping[str, Any]) -> None:
    """One more line of JSON, in one write."""
    with open(path, "ab") as file:
        file.write((json.dumps(plain(row), allow_nan=False) + os.linesep).encode())


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as JSON ({error}); it is damaged or not a configuration."
        ) from error


def plain(value: Any) -> Any:
    """JSON has no NaN and no numpy: null, and plain numbers."""
    if isinstance(value, Mapping):
        return {str(name): plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
