"""Flags of commands: parsed by tyro from typed functions, and checked before anything runs."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from jaxmeta.arguments import check, complaint, flat, grouped, shown
from jaxmeta.recipe import Recipe
from jaxmeta.recipes import RECIPES, find

from ._call import Call as Call

DEFAULT = next(iter(RECIPES))
CONFIG = (tyro.conf.OmitArgPrefixes,)
T = TypeVar("T")


def flag(name: str) -> str:
    """Return the flag of an argument.

    Example:
      >>> flag("num_steps")
      '`--num-steps`'
    """
    return f"`--{name.replace('_', '-')}`"


def parse(function: Callable[..., int], prog: str, args: list[str]) -> Call:
    """Parse and check the flags of a function.

    Args:
      function: a typed function; its docstring explains the flags.
      prog: the command as the user typed it, for help and errors.
      args: the words after the command.

    Raises:
      ValueError: if a number is not finite or out of the range that its type names.
    """
    positional, given = tyro.cli(_collector(function), prog=prog, args=args, config=CONFIG)
    names = list(inspect.signature(function).parameters)
    _check(dict(zip(names, positional, strict=False)) | given, get_type_hints(function, include_extras=True))
    return Call(function, positional, given)


def read(command: str, own: type[T], args: list[str]) -> tuple[Recipe, T, dict[str, Any]]:
    """Parse and check the flags of a command that takes a recipe.

    Args:
      command: the command, ``"train"``.
      own: a dataclass with the command's own flags.
      args: the words after the command: a recipe, or none for the default one, and flags.

    Returns:
      The recipe, the command's own flags, and all arguments of the recipe.

    Raises:
      ValueError: if there is no such recipe, or a value is out of the range that its type names.
    """
    named = bool(args) and not args[0].startswith("-")
    name, rest = (args[0], args[1:]) if named else (DEFAULT, args)
    recipe = find(name)
    hint = f"`jaxmeta list recipes` names the others; `jaxmeta {command} RECIPE --help` has their flags."
    note = "" if named else f"This is the default recipe. {hint}"
    return recipe, *read_for(recipe, own, f"jaxmeta {command} {name}", rest, note)


def read_for(
    recipe: Recipe, own: Callable[..., T], prog: str, args: list[str], note: str = ""
) -> tuple[T, dict[str, Any]]:
    """Parse and check the flags of a command and of one recipe.

    Args:
      recipe: the recipe; its values are the flags' defaults, so that ``Recipe(function, name, arguments)`` has those of
        an earlier run.
      own: a dataclass with the command's own flags, or a `functools.partial` of one with other defaults.
      prog: the command as the user typed it.
      args: the flags.
      note: a sentence for the help, after the recipe's.

    Returns:
      The command's own flags, and all arguments of the recipe.
    """
    about = "\n\n".join(filter(None, (recipe.about, _body(recipe), note)))
    constructor = functools.partial(_collector(recipe.function), **grouped(recipe.function, recipe.values))
    of_command = Annotated[object, tyro.conf.arg(name="", constructor=own)]
    of_recipe = Annotated[tuple, tyro.conf.arg(name="", constructor=constructor)]
    both: Any = tuple[of_command, of_recipe]
    flags, (_, given) = tyro.cli(both, prog=prog, description=about, args=args, config=CONFIG)
    _check(vars(flags), get_type_hints(type(flags), include_extras=True))
    return flags, check(recipe, flat(recipe, given), named=flag)


def in_flags(text: str, flags: Iterable[str]) -> str:
    """Return a message of the library with the flags of a command in place of arguments.

    Example:
      >>> in_flags("`num_ways` is 0; see `draw` and `download=True`.", ["--num-ways", "--download"])
      '`--num-ways` is 0; see `draw` and `--download`.'
    """
    known, other = set(flags) - {""}, {"folder": "--out"}  # the library's word for what the flag names

    def spelled(match: re.Match[str]) -> str:
        name, value = match.group(1), (match.group(2) or "").removesuffix("=True").replace("=", " ", 1)
        own = f"--{name.replace('_', '-')}"
        word = own if own in known else other.get(name, "")
        return f"`{word}{value}`" if word in known else match.group()

    return re.sub(r"`([a-z]\w*)(=[^`]*)?`", spelled, text)


def _collector(function: Callable[..., Any]) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return a function with the same signature and docstring that returns its arguments."""

    @functools.wraps(function)
    def collect(*positional: Any, **given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return positional, given

    return collect


def _body(recipe: Recipe) -> str:
    """Return what the docstring says after its first line and before the arguments."""
    text = (recipe.function.__doc__ or "").partition("\n    Args:")[0].partition("\n")[2]
    return re.sub(r"(?<=\S)\n +(?=\S)", " ", text).strip()


def _check(given: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Check flags against their types, those of nested dataclasses too."""
    for name, value in given.items():
        if dataclasses.is_dataclass(value):
            _check(vars(value), get_type_hints(type(value), include_extras=True))
        elif (wrong := complaint(value, hints[name])) is not None:
            raise ValueError(f"{flag(name)} must be {wrong}, got {shown(value)}.")
