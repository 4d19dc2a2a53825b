"""Train the row of a table: configure its run, compare with what its folder holds, share training where rows can."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..arguments import defaults
from ..recipes import RECIPES, Row
from . import _folder
from ._compute import Compute
from ._config import CONFIG, Config, read_config, write_config
from ._end import Result
from ._events import Report
from ._tables import run_folder
from ._train import resume, train

PLACES = {"data_dir", "download"}  # where the data is decides nothing


class RowRun(NamedTuple):
    """The run of a row and a seed.

    Attributes:
      config: its configuration.
      folder: its folder.
      trained: the folder of the run whose training is this one's too, or None.
      measured: the arguments by which the two differ; training does not see them.
    """

    config: Config
    folder: Path
    trained: Path | None = None
    measured: frozenset[str] = frozenset()


def row_run(
    row: Row, seed: int, table: Iterable[Row], out: Path, *, changes: Mapping[str, Any], checkpoint_every: int
) -> RowRun:
    """Configure the run of a row, and check it against what is in its folder.

    Args:
      row: the row.
      seed: the seed of the run.
      table: all rows of the table, of which one may have the training of this one.
      out: the folder of the table's runs.
      changes: arguments in place of the row's; those that its recipe does not have are left out.
      checkpoint_every: steps between checkpoints.

    Raises:
      ValueError: if the folder holds something else.
    """
    knobs = knobs_of(row)
    arguments = knobs | {name: value for name, value in changes.items() if name in knobs}
    config = Config(recipe_name(row), arguments, seed, checkpoint_every, Compute().kept())
    folder = run_folder(out, row.name, seed)
    if (folder / CONFIG).is_file():
        _check_same(config, read_config(folder), folder)
    else:
        _folder.check_new(folder)
    for other in table:
        if other.name == row.trained_as:
            mine, theirs = knobs_of(row), knobs_of(other)
            differ = frozenset(name for name in mine if mine[name] != theirs[name])
            return RowRun(config, folder, run_folder(out, other.name, seed), differ)
    return RowRun(config, folder)


def knobs_of(row: Row) -> dict[str, Any]:
    """Return all arguments of a row's recipe."""
    return defaults(RECIPES[row.recipe]) | dict(row.values)


def recipe_name(row: Row) -> str:
    """Return the name of the recipe with the row's values, or of the recipe of the whole table."""
    return row.name if row.name in RECIPES else row.recipe


def cost(rows: Iterable[Row]) -> tuple[int, int]:
    """Return the steps and the tasks that training the rows takes; rows that share their training count once."""
    trained = {row.trained_as or row.name: knobs_of(row) for row in rows}
    steps = sum(knobs["num_steps"] for knobs in trained.values())
    return steps, sum(knobs["num_steps"] * knobs["tasks_per_step"] for knobs in trained.values())


def train_row(run: RowRun, *, minutes: float | None, progress: Report) -> Result:
    """Train the run of a row, or continue it; where rows share their training, take the other's and only measure.

    Args:
      run: from `row_run`.
      minutes, progress: as for `jaxmeta.runs.train`.
    """
    config, folder = run.config, run.folder
    experiment = RECIPES[config.recipe or ""](**config.arguments)
    if run.trained is not None and _trained_alike(run, run.trained):
        if not (folder / CONFIG).is_file():
            _folder.make(folder)
            write_config(folder, config._replace(task=experiment.prepare()), experiment.num_steps)
        _folder.copy_training(run.trained, folder)
    if (folder / CONFIG).is_file():
        return resume(folder, experiment, minutes=minutes, progress=progress)
    return train(
        experiment,
        folder,
        seed=config.seed,
        checkpoint_every=config.checkpoint_every,
        minutes=minutes,
        progress=progress,
    )


def _trained_alike(run: RowRun, other: Path) -> bool:
    """Return whether the other run is complete, and has the same configuration but for what the two rows measure."""
    if not _folder.is_complete(other):
        return False
    mine, theirs = run.config, read_config(other)
    same = not _differ(mine, theirs, but=run.measured | {"test_tasks"})
    return same and (mine.seed, mine.compute) == (theirs.seed, theirs.compute)


def _check_same(wanted: Config, there: Config, folder: Path) -> None:
    differ = _differ(wanted, there) if wanted.recipe == there.recipe else []
    if differ or (wanted.recipe, wanted.seed) != (there.recipe, there.seed):
        said = ", ".join(f"{n} {there.arguments.get(n)!r} and not {wanted.arguments[n]!r}" for n in differ)
        raise ValueError(
            f"`--out`: {str(folder)!r} holds a run of {there.recipe}, seed {there.seed}, {said or 'another one'}. "
            "Choose another `--out`."
        )


def _differ(wanted: Config, there: Config, but: Iterable[str] = ()) -> list[str]:
    """Return the arguments that differ. An argument that the recipe did not have then has its default."""
    had = defaults(RECIPES[there.recipe or ""]) | there.arguments
    return sorted(n for n in wanted.arguments.keys() - PLACES - {*but} if wanted.arguments[n] != had.get(n))
