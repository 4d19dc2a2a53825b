"""``config.json``: the recipe, its arguments and the seed of a run, and the shapes of its tasks."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from .._suggest import near
from ..experiment import Experiment
from ..types import Task
from ._folder import check_inside
from ._json import read_object, write_json
from ._shapes import decode, encode

FORMAT = 1
CONFIG, PARAMS = "config.json", "params"


class Config(NamedTuple):
    """The configuration of a run.

    Attributes:
      recipe: the recipe's name; the reference ``file.py:function`` or ``package.module:function`` of a user's own
        recipe; or None for an experiment or learner without one.
      arguments: the recipe's arguments.
      seed: of everything random.
      checkpoint_every: steps between checkpoints.
      compute: the fields of `Compute` that decide the numbers.
      num_inner_steps: the inner steps of a saved estimator, or None for those of the recipe's headline figure.
      task: shapes of a training task, `jax.ShapeDtypeStruct` in place of arrays, or None if they are unknown.
    """

    recipe: str | None
    arguments: dict[str, Any]
    seed: int
    checkpoint_every: int = 500
    compute: Mapping[str, Any] = MappingProxyType({})
    num_inner_steps: int | None = None
    task: Task | None = None

    @property
    def is_reference(self) -> bool:
        """Whether the recipe is a user's own, which is never imported because a file names it."""
        return self.recipe is not None and ":" in self.recipe


def command(words: str, recipe: str | None, rest: str = "") -> str:
    """Return a command that acts on a run; one that builds a recipe of the user's own names it.

    Example:
      >>> command("jaxmeta evaluate runs/a", "mine.py:f", "--num-tasks 10000")
      'jaxmeta evaluate runs/a --recipe mine.py:f --num-tasks 10000'
    """
    own = f"--recipe {shlex.quote(recipe)}" if recipe is not None and ":" in recipe else ""
    return " ".join(part for part in (words, own, rest) if part)


def write_config(folder: Path, config: Config, num_steps: int | None = None) -> None:
    """Write the configuration of a run into its folder."""
    import jax

    from jaxmeta import __version__

    about = {"format": FORMAT, **config._asdict(), "task": encode(config.task)}
    write_json(folder / CONFIG, {**about, "num_steps": num_steps, "jaxmeta": __version__, "jax": jax.__version__})


def read_config(folder: Path, recipe: Callable[..., Experiment] | None = None) -> Config:
    """Read the configuration of a run, and check it against its recipe.

    Args:
      folder: the run folder.
      recipe: the function of a user's own recipe. Without it, only a built-in recipe's arguments are checked.

    Raises:
      ValueError: if there is no configuration, it is damaged, it names a recipe or argument that does not exist, or
        the folder holds a symbolic link or special file.
    """
    path = folder / CONFIG
    check_inside(folder)
    if not path.is_file():
        raise ValueError(
            f"{str(folder)!r} is not a run folder: it has no {CONFIG}. Pass a folder that `jaxmeta train` made."
        )
    about, where = read_object(path), repr(str(path))
    if about.get("format") != FORMAT:
        raise ValueError(f"{where} has format {about.get('format')!r}; this version of jaxmeta reads format {FORMAT}.")
    required = {name: about.get(name) for name in Config._fields[:3]}
    config = Config(**{name: about[name] for name in Config._fields if name in about} | required)
    return _checked(config, where, recipe)._replace(task=decode(config.task, where))


def _checked(config: Config, where: str, function: Callable[..., Experiment] | None) -> Config:
    from ..arguments import check, complaint
    from ..recipes import RECIPES

    types: dict[str, Any] = {"arguments": dict, "seed": int, "recipe": str | None, "num_inner_steps": int | None}
    types |= {"checkpoint_every": int, "compute": dict}
    kept: dict[str, Any] = {"accumulate": int, "clip_norm": float | None, "guard": Literal["step", "task"]}
    values = config._asdict() | {"compute": dict(config.compute) if isinstance(config.compute, Mapping) else None}
    _check_types(values, types, where, complaint)
    for name in config.compute:
        if name not in kept:
            raise ValueError(f"{where}: there is no field {name!r} in `compute`; {near(name, kept)}")
    _check_types(config.compute, {name: kept[name] for name in config.compute}, where, complaint)
    if config.recipe is not None and not config.is_reference:
        if config.recipe not in RECIPES:
            raise ValueError(f"{where}: there is no recipe {config.recipe!r}; {near(config.recipe, RECIPES)}")
        function = RECIPES[config.recipe]
    return config if function is None else config._replace(arguments=check(function, config.arguments, where))


def _check_types(
    values: Mapping[str, Any], types: Mapping[str, Any], where: str, complaint: Callable[[Any, Any], str | None]
) -> None:
    for name, hint in types.items():
        wrong = "an object" if hint is dict and not isinstance(values[name], dict) else None
        if wrong is None and hint is not dict:
            wrong = complaint(values[name], hint)
        if wrong is not None:
            raise ValueError(
                f"{where}: the field {name!r} must be {wrong}, got {values[name]!r:.100}. Correct the file."
            )
