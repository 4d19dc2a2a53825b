"""The arguments of a recipe, flat: as flags name them and as ``config.json`` keeps them.

A recipe is a typed function that returns an `Experiment`. A parameter whose type is a dataclass stands for the fields
of that dataclass; every other parameter is an argument of its own.
"""

import dataclasses
import inspect
import math
import os
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from ._suggest import near
from .experiment import Experiment

MISSING = inspect.Parameter.empty


class Argument(NamedTuple):
    """One argument of a recipe.

    Attributes:
      name: the argument's name, unique within the recipe.
      hint: its type, with the marks of ``Annotated``.
      default: its default, or `MISSING`.
      group: the parameter that holds it if that parameter is a dataclass, else None.
    """

    name: str
    hint: Any
    default: Any
    group: str | None = None


def arguments_of(recipe: Callable[..., Experiment]) -> dict[str, Argument]:
    """Return the arguments of a recipe by name, in the order of its parameters.

    Args:
      recipe: a `Recipe`, or a typed function that returns an `Experiment`.

    Raises:
      TypeError: if a parameter has no annotation, cannot be passed by name, or has a type that a configuration cannot
        hold; if two arguments have the same name; if the function is not annotated to return an `Experiment`.

    Example:
      >>> from jaxmeta.recipes import sinusoid_maml
      >>> arguments_of(sinusoid_maml)["num_inner_steps"].default
      1
    """
    return dict(_arguments(recipe))


def defaults(recipe: Callable[..., Experiment]) -> dict[str, Any]:
    """Return the default of every argument of a recipe that has one.

    Example:
      >>> from jaxmeta.recipes import sinusoid_maml
      >>> defaults(sinusoid_maml)["hidden"]
      40
    """
    return {name: a.default for name, a in _arguments(recipe).items() if a.default is not MISSING}


def build(recipe: Callable[..., Experiment], arguments: Mapping[str, Any]) -> Experiment:
    """Call a recipe with flat arguments.

    Args:
      recipe: as in `arguments_of`.
      arguments: values by name, as flags give them or as ``config.json`` holds them; arguments that are left out have
        their defaults.

    Raises:
      ValueError: if an argument is unknown, missing, or has a value that `check` refuses.

    Example:
      >>> from jaxmeta.recipes import sinusoid_maml
      >>> build(sinusoid_maml, {"num_steps": 5, "hidden": 8}).num_steps
      5
    """
    given = defaults(recipe) | check(recipe, arguments)
    experiment = _function(recipe)(**grouped(recipe, given))
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{_name(recipe)} must return an `Experiment`, but it returned {type(experiment).__name__}.")
    return experiment._replace(recipe=_name(recipe), arguments=given)


def grouped(recipe: Callable[..., Experiment], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat arguments as keyword arguments of the function: the fields of a dataclass become one value."""
    known, given = _arguments(recipe), dict(arguments)
    for group in {known[name].group for name in arguments} - {None}:
        fields = {name: given.pop(name) for name in arguments if known[name].group == group}
        given[str(group)] = dataclasses.replace(_group_default(recipe, str(group)), **fields)
    return given


def flat(recipe: Callable[..., Experiment], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of the function as flat arguments: the inverse of `grouped`."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        is_group = dataclasses.is_dataclass(value) and name not in _arguments(recipe)
        found |= {f.name: getattr(value, f.name) for f in dataclasses.fields(value)} if is_group else {name: value}
    return found


def check(
    recipe: Callable[..., Experiment],
    arguments: Mapping[str, Any],
    where: str = "",
    named: Callable[[str], str] = "`{}`".format,
) -> dict[str, Any]:
    """Check the names, types and ranges of flat arguments before anything is made of them.

    Args:
      recipe: as in `arguments_of`.
      arguments: values by name.
      where: the place that the values come from, which begins every message: a file's name, for instance.
      named: how a message spells an argument's name; a command line spells it as a flag.

    Returns:
      The arguments, with lists of a file as the tuples that the recipe takes.

    Raises:
      ValueError: naming the argument, its value, and what it must be.

    Example:
      >>> from jaxmeta.recipes import sinusoid_maml
      >>> check(sinusoid_maml, {"inner_lr": float("nan")})
      Traceback (most recent call last):
      ...
      ValueError: `inner_lr` must be a finite number greater than 0, got nan.
    """
    known, at = _arguments(recipe), f"{where}: " if where else ""
    for name in arguments:
        if name not in known:
            raise ValueError(f"{at}there is no argument {name!r}; {near(str(name), known)}")
    missing = [name for name, a in known.items() if a.default is MISSING and name not in arguments]
    if missing:
        raise ValueError(f"{at}{named(missing[0])} is required and was not given.")
    checked = {}
    for name, value in arguments.items():
        value = _restored(value, known[name].hint)
        if (wrong := complaint(value, known[name].hint)) is not None:
            raise ValueError(f"{at}{named(name)} must be {wrong}, got {shown(value)}.")
        checked[name] = value
    return checked


def complaint(value: Any, hint: Any) -> str | None:
    """Return what a value of this type must be, or None if the value fits.

    Example:
      >>> complaint(3, int), complaint(True, int), complaint("x", Literal["a", "b"])
      (None, 'a whole number', "'a' or 'b'")
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        marks = [mark for mark in inner[1:] if hasattr(mark, "complaint")]
        for wrong in (complaint(value, inner[0]), *(mark.complaint(value) for mark in marks)):
            if wrong is not None:
                return next((str(mark) for mark in marks), wrong) if wrong in _PLAIN else wrong
        return None
    if origin in (Union, types.UnionType):
        wrong = [complaint(value, option) for option in inner]
        return None if None in wrong else " or ".join(dict.fromkeys(filter(None, wrong)))
    if origin is Literal:
        fits = any(type(value) is type(option) and value == option for option in inner)
        return None if fits else " or ".join(map(repr, inner))
    if origin is tuple:
        return _tuple_complaint(value, inner)
    if hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
        return None if fits else "a finite number"
    if hint is int:
        return None if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    names = {bool: "True or False", str: "text", types.NoneType: "None", Path: "a path"}
    fits = isinstance(value, os.PathLike) if hint is Path else not isinstance(hint, type) or isinstance(value, hint)
    return None if fits else names.get(hint, getattr(hint, "__name__", str(hint)))


_PLAIN = ("a finite number", "a whole number")


def _tuple_complaint(value: Any, inner: tuple[Any, ...]) -> str | None:
    many = len(inner) == 2 and inner[1] is Ellipsis
    if not isinstance(value, tuple) or not (many or len(value) == len(inner)):
        return "a list" if many else f"a list of {len(inner)}"
    hints = [inner[0]] * len(value) if many else inner
    wrong = [complaint(part, hint) for part, hint in zip(value, hints, strict=True)]
    return next((f"a list whose entries are each {w}" for w in wrong if w is not None), None)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _restored(value: Any, hint: Any) -> Any:
    """JSON has neither tuples nor paths: make them again from lists and text."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType, Annotated) else (hint,)
    options = tuple(get_args(option)[0] if get_origin(option) is Annotated else option for option in options)
    if isinstance(value, list) and any(get_origin(option) is tuple for option in options):
        return tuple(value)
    return Path(value) if isinstance(value, str) and Path in options and str not in options else value


def shown(value: Any) -> str:
    """Return a value as messages show it: long ones are cut."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write a whole number of more than 4,300 digits
        return "a whole number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text):,} characters)"


@cache
def _arguments(recipe: Callable[..., Experiment]) -> Mapping[str, Argument]:
    function = _function(recipe)
    hints, values = get_type_hints(function, include_extras=True), getattr(recipe, "values", {})
    found: dict[str, Argument] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{_name(recipe)}: parameter `{name}` cannot be passed by name. Spell every argument.")
        if name not in hints:
            raise TypeError(f"{_name(recipe)}: parameter `{name}` has no type. Annotate it, as in `{name}: float`.")
        for argument in _of_parameter(function, name, hints[name], parameter.default):
            if argument.name in found:
                raise TypeError(f"{_name(recipe)}: there are two arguments `{argument.name}`. Rename one of them.")
            found[argument.name] = argument._replace(default=values.get(argument.name, argument.default))
    return types.MappingProxyType(found)


def _of_parameter(function: Callable[..., Experiment], name: str, hint: Any, default: Any) -> list[Argument]:
    if not dataclasses.is_dataclass(hint):
        return [Argument(name, hint, default)]
    values, hints = _group_default(function, name), get_type_hints(hint, include_extras=True)
    return [Argument(f.name, hints[f.name], getattr(values, f.name), name) for f in dataclasses.fields(hint)]


def _group_default(recipe: Callable[..., Experiment], group: str) -> Any:
    """The value that a dataclass of the recipe has by default; its own defaults where the recipe names none."""
    default = inspect.signature(_function(recipe)).parameters[group].default
    return get_type_hints(_function(recipe))[group]() if default is MISSING else default


def _function(recipe: Callable[..., Experiment]) -> Callable[..., Experiment]:
    return getattr(recipe, "function", recipe)


def _name(recipe: Callable[..., Experiment]) -> str:
    return getattr(recipe, "name", None) or getattr(recipe, "__name__", repr(recipe))
