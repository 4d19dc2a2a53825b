"""``config.json``: the recipe, its arguments and the seed, and what its tasks look like."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from jaxmeta.types import Task

from ._json import read_json, write_json
from ._names import check_arguments, near
from ._shapes import decode, encode

FORMAT = 1
CONFIG, PARAMS = "config.json", "params"


class Config(NamedTuple):
    """What a run was asked to do.

    Attributes:
      recipe: its name, or None for a learner of the user's own.
      arguments: of the recipe.
      seed: of everything random.
      checkpoint_every: steps between checkpoints.
      compute: how the outer optimizer saw the gradients.
      num_inner_steps: with how many a saved estimator adapts, or None for those of the recipe's headline figure.
      task: shapes of a training task, `jax.ShapeDtypeStruct` in place of arrays, or None where they are not known.
    """

    recipe: str | None
    arguments: dict[str, Any]
    seed: int
    checkpoint_every: int = 500
    compute: Mapping[str, Any] = MappingProxyType({})
    num_inner_steps: int | None = None
    task: Task | None = None


def write_config(folder: Path, config: Config, num_steps: int | None = None) -> None:
    """Writes the configuration of a run into its folder."""
    import jax

    from jaxmeta import __version__

    about = {"format": FORMAT, **config._asdict(), "task": encode(config.task)}
    write_json(folder / CONFIG, {**about, "num_steps": num_steps, "jaxmeta": __version__, "jax": jax.__version__})


def read_config(folder: Path) -> Config:
    """The configuration of a run, checked against the recipes there are.

    Raises:
      ValueError: if there is none, or it is damaged, or names a recipe or argument that does not exist.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(
            f"{str(folder)!r} is not a run folder: it has no {CONFIG}. Pass a folder that `jaxmeta train` made."
        )
    about, where = read_json(path), repr(str(path))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else about
        raise ValueError(f"{where} has format {found!r}; this version of jaxmeta reads format {FORMAT}.")
    config = Config(**{name: about[name] for name in Config._fields if name in about} | _must(about))
    _check(config, where)
    return config._replace(task=decode(config.task, where))


def _must(about: dict) -> dict[str, Any]:
    return {name: about.get(name) for name in Config._fields[:3]}


def _check(config: Config, where: str) -> None:
    from jaxmeta.arguments import check
    from jaxmeta.recipes import RECIPES

    recipe, arguments, seed, every, compute, steps, _ = config
    if not isinstance(arguments, dict):
        raise ValueError(f"{where}: `arguments` must be an object, got {arguments!r}.")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"{where}: `seed` must be a whole number, got {seed!r}.")
    how = compute if isinstance(compute, dict) else {}
    check_arguments(_how, {"checkpoint_every": every, "num_inner_steps": steps, **how}, where)
    if recipe is None:
        return
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise ValueError(f"{where}: there is no recipe {recipe!r}; {near(str(recipe), RECIPES)}")
    check(RECIPES[recipe], arguments, where)


def _how(
    checkpoint_every: int,
    num_inner_steps: int | None,
    accumulate: int,
    clip_norm: float | None,
    guard: Literal["step", "task"],
) -> None:
    """The types of what a configuration says beside the recipe's arguments."""
