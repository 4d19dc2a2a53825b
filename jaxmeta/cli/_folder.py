"""The run folder: what is in it, and how it is written and read. Everything in it is data, never code.

``config.json``       the recipe, its arguments and the seed: enough to build the experiment again
``params``            the checkpoint of the meta-parameters
``metrics.jsonl``     a row per log interval; the same bytes for the same seed, version and machine
``timing.jsonl``      seconds and tasks per second of the same intervals
``results.json``      how training ended, and the final estimates
``learning_curve.png``, and ``episodes.png`` or ``fits.png``
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ._names import check_arguments, near

FORMAT = 1
PARAMS, CONFIG, METRICS, TIMING, RESULTS = "params", "config.json", "metrics.jsonl", "timing.jsonl", "results.json"
MAX_BYTES = 1 << 20  # of a configuration that is read


class Config(NamedTuple):
    """What a run was asked to do."""

    recipe: str
    arguments: dict[str, Any]
    seed: int


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
    import jax

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
    recipe, arguments, seed = (about.get(name) for name in Config._fields)
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise ValueError(f"{where}: there is no recipe {recipe!r}; {near(str(recipe), RECIPES)}")
    if not isinstance(arguments, dict):
        raise ValueError(f"{where}: `arguments` must be an object, got {arguments!r}.")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"{where}: `seed` must be a whole number, got {seed!r}.")
    check_arguments(RECIPES[recipe], arguments, where)
    return Config(recipe, arguments, seed)


def write_json(path: Path, value: Any) -> None:
    """Writes a file entirely or not at all."""
    from jaxmeta.datasets._files import write_whole

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
