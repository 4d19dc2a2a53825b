"""Configure the run of a table's row, and compare the configuration with what a folder holds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..arguments import defaults
from ..recipes import RECIPES, Row
from . import _folder
from ._config import CONFIG, Config, read_config
from ._tables import run_folder

PLACES = {"data_dir", "download"}  # where the data is decides nothing


class Asked(NamedTuple):
    """A run that is asked for.

    Attributes:
      config: what it is to do.
      folder: where.
      trained: the folder of the run whose training is this one's too, or None.
      measured: the arguments by which the two differ; training does not see them.
    """

    config: Config
    folder: Path
    trained: Path | None = None
    measured: frozenset[str] = frozenset()


def ask(row: Row, config: Config, table: Iterable[Row], out: Path) -> Asked:
    """A row's run, checked against what is in its folder before any time is spent.

    Raises:
      ValueError: if the folder holds something else.
    """
    folder = run_folder(out, row.name, config.seed)
    if (folder / CONFIG).is_file():
        _check_same(config, read_config(folder), folder)
    else:
        _folder.check_new(folder)
    for other in table:
        if other.name == row.trained_as:
            mine, theirs = knobs_of(row), knobs_of(other)
            differ = frozenset(name for name in mine if mine[name] != theirs[name])
            return Asked(config, folder, run_folder(out, other.name, config.seed), differ)
    return Asked(config, folder)


def knobs_of(row: Row) -> dict[str, Any]:
    """The arguments of a row's recipe."""
    return defaults(RECIPES[row.recipe]) | dict(row.values)


def trained_alike(asked: Asked) -> bool:
    """Whether the other run is complete, and was asked for the same but for what the two rows measure."""
    assert asked.trained is not None
    if not _folder.is_complete(asked.trained):
        return False
    mine, theirs = asked.config, read_config(asked.trained)
    same = not _differ(mine, theirs, but=asked.measured | {"test_tasks"})
    return same and (mine.seed, mine.compute) == (theirs.seed, theirs.compute)


def _check_same(asked: Config, there: Config, folder: Path) -> None:
    differ = _differ(asked, there) if asked.recipe == there.recipe else []
    if differ or (asked.recipe, asked.seed) != (there.recipe, there.seed):
        said = ", ".join(f"{n} {there.arguments.get(n)!r} and not {asked.arguments[n]!r}" for n in differ)
        raise ValueError(
            f"`--out`: {str(folder)!r} holds a run of {there.recipe}, seed {there.seed}, {said or 'another one'}. "
            "Choose another `--out`."
        )


def _differ(asked: Config, there: Config, but: Iterable[str] = ()) -> list[str]:
    """Arguments that are not the same; one that the recipe did not have then has its default."""
    had = defaults(RECIPES[there.recipe or ""]) | there.arguments
    return sorted(n for n in asked.arguments.keys() - PLACES - {*but} if asked.arguments[n] != had.get(n))
