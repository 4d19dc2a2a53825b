"""Names that a user typed, or a stranger's file holds: near matches, and values of the right type."""

import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxmeta._suggest import near as near


def check_arguments(function: Callable, arguments: Mapping[str, Any], where: str) -> None:
    """Checks names and types of keyword arguments that came from a file.

    Raises:
      ValueError: naming the argument, what it is, and what it should be.
    """
    hints, known = get_type_hints(function), inspect.signature(function).parameters
    for name, value in arguments.items():
        if name not in known:
            raise ValueError(f"{where}: there is no argument {name!r}; {near(name, known)}")
        if not _fits(value, hints[name]):
            wanted = inspect.formatannotation(hints[name])
            raise ValueError(f"{where}: `{name}` must be {wanted}, got {value!r}. Correct the file.")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return any(type(value) is type(option) and value == option for option in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))
