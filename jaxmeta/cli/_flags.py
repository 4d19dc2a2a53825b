"""The flags of a command that takes a recipe: its own, and the recipe's knobs."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import tyro

from jaxmeta.recipes import RECIPES, Experiment
from jaxmeta.recipes._knobs import Dtype, Remat
from jaxmeta.runs._names import near

DEFAULT = next(iter(RECIPES))


def read(command: str, call: Callable[..., Any], args: list[str]) -> tuple[str, Any]:
    """The recipe's name, and what ``call`` makes of the flags.

    Args:
      command: as the user typed it.
      call: its keyword arguments are the command's own flags, explained in its docstring; the recipe's come
        as further ones.
      args: the words after the command: a recipe, or the default one, and flags.

    Raises:
      ValueError: if there is no such recipe.
    """
    named = bool(args) and not args[0].startswith("-")
    name, rest = (args[0], args[1:]) if named else (DEFAULT, args)
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}; {near(name, RECIPES)} See `jaxmeta list recipes`.")
    hint = f"`jaxmeta list recipes` names the others; `jaxmeta {command} RECIPE --help` has their flags."
    about = "" if named else f"\n\nThis is the default recipe. {hint}"
    return name, tyro.cli(_joined(call, RECIPES[name], about), prog=f"jaxmeta {command} {name}", args=rest)


def _joined(call: Callable[..., Any], recipe: Callable[..., Experiment], about: str) -> Callable[..., Any]:
    """``call`` with the recipe's arguments in place of ``**arguments``, and the explanations of both."""

    def joined(**arguments):
        return call(**arguments)

    own = [p for p in inspect.signature(call).parameters.values() if p.kind is p.KEYWORD_ONLY]
    knobs = sorted(inspect.signature(recipe).parameters.values(), key=lambda p: p.annotation in (Dtype, Remat))
    parameters = [*own, *knobs]  # how it is computed comes last, where what every recipe has of that follows
    head, explained = _parts(recipe)
    joined.__doc__ = f"{head}{about}\n\nArgs:\n{_parts(call)[1]}\n{explained}"
    vars(joined)["__signature__"] = inspect.Signature(parameters)
    joined.__annotations__ = {p.name: p.annotation for p in parameters}
    return joined


def _parts(function: Callable[..., Any]) -> tuple[str, str]:
    """A docstring's explanation of the whole, and of the arguments."""
    head, _, explained = inspect.cleandoc(function.__doc__ or "").partition("\nArgs:\n")
    return head.rstrip(), re.sub(r"\n {4,}", " ", explained.rstrip())  # a line each: tyro keeps some breaks
