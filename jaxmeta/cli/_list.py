"""``jaxmeta list``: recipes, algorithms and others by name, each with a line that explains it."""

import inspect
import json as jsonlib
import shutil
import textwrap
from importlib import import_module
from typing import Annotated, Literal

import tyro

from jaxmeta._suggest import near

from ._flags import Call, parse

What = Literal["recipes", "algorithms", "datasets", "tasks", "backbones"]
KINDS: tuple[What, ...] = ("recipes", "algorithms", "datasets", "tasks", "backbones")
HELPERS = frozenset(("initializer", "load", "ClassSplit"))  # public, but none of the kinds


def command(args: list[str]) -> Call:
    """Read the flags."""
    if args and not args[0].startswith("-") and args[0] not in KINDS:
        raise ValueError(f"there is no `jaxmeta list {args[0]}`; {near(args[0], KINDS)}")
    return parse(_list, "jaxmeta list", args)


def _list(
    what: Annotated[What | None, tyro.conf.Positional] = None,
    /,
    *,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """List names, each with a line that explains it.

    Args:
      what: recipes, algorithms, datasets, tasks or backbones; all of them by default.
      json: print JSON, names and what explains them.
    """
    found = {kind: dict(entries(kind)) for kind in (KINDS if what is None else (what,))}
    if json:
        print(jsonlib.dumps(found, indent=2, ensure_ascii=False))
        return 0
    for kind, lines in found.items():
        print(kind)
        for name, line in lines.items():
            _print(name, line)
    return 0


def entries(kind: What) -> list[tuple[str, str]]:
    """Return names, each with a line that explains it.

    Example:
      >>> entries("tasks")[0][0]
      'episodes'
    """
    module = import_module(f"jaxmeta.{kind}")
    names = list(module.RECIPES) if kind == "recipes" else [n for n in module.__all__ if n not in HELPERS]
    things = [getattr(module, name) for name in names]
    if kind not in ("recipes", "backbones"):  # one to a file, whose first line says it in plain words
        things = [inspect.getmodule(thing) for thing in things]
    return [(name, _first_line(thing)) for name, thing in zip(names, things, strict=True)]


def _first_line(thing: object) -> str:
    from jaxmeta.recipe import Recipe

    about = thing.about if isinstance(thing, Recipe) else inspect.cleandoc(thing.__doc__ or "").partition("\n")[0]
    return about.replace("`", "")


def _print(name: str, line: str) -> None:
    width = max(shutil.get_terminal_size((110, 20)).columns, 60)
    wrapped = textwrap.wrap(line, width - 28) or [""]
    print(f"  {name:<24}  {wrapped[0]}")
    for more in wrapped[1:]:
        print(f"{'':<28}{more}")
