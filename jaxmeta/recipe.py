"""A recipe: a typed function that returns an `Experiment`, called with flat arguments, which are also its flags."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, get_type_hints

from . import arguments as _arguments
from ._suggest import near
from .experiment import Experiment


class Recipe:
    """An experiment to be called with keyword arguments, which are also its flags.

    The fields of a dataclass in the function's signature are arguments of their own, so that
    ``omniglot_maml(num_ways=20, inner_lr=0.4)`` needs no further objects. Every argument is checked first.

    Attributes:
      name: the name on the command line and in ``config.json``.
      function: a typed function with keyword arguments that returns an `Experiment`.
      values: flat arguments that replace the function's defaults.
      about: a description in one line.

    Example:
      >>> from jaxmeta.recipes import sinusoid_maml
      >>> sinusoid_maml(num_steps=5, hidden=8).num_steps
      5
      >>> sinusoid_maml(hiden=8)
      Traceback (most recent call last):
      ...
      ValueError: there is no argument 'hiden'; did you mean 'hidden'? ...
    """

    def __init__(
        self,
        function: Callable[..., Experiment],
        name: str | None = None,
        values: Mapping[str, Any] = MappingProxyType({}),
        about: str | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name = function, name or function.__name__
        self.about = about or (function.__doc__ or "").strip().partition("\n")[0]
        self.values = _arguments.check(function, values, self.name) if values else {}

    def __call__(self, **arguments: Any) -> Experiment:
        """Return the experiment with these arguments; all others have their defaults."""
        return _arguments.build(self, arguments)

    def __repr__(self) -> str:
        return f"Recipe({self.name!r})"


def recipe(function: Callable[..., Experiment]) -> Recipe:
    """Make a recipe of a typed function, as a decorator.

    Example:
      >>> @recipe
      ... def mine(*, hidden: int = 8) -> Experiment:
      ...     return sinusoid_maml(hidden=hidden)
      >>> from jaxmeta.recipes import sinusoid_maml
      >>> mine(hidden=4).arguments
      {'hidden': 4}
    """
    return Recipe(function)


def import_own(name: str) -> Recipe:
    """Import a function of the user's own as a recipe: see `jaxmeta.recipes.find`."""
    place, _, function = name.rpartition(":")
    module = _file(name, Path(place)) if place.endswith(".py") else _module(name, place)
    made: Any = getattr(module, function, None)
    if made is None or not callable(made):
        names = [n for n, value in vars(module).items() if _returns_experiment(value)]
        hint = near(function, names) if names else "No function in it is annotated to return an `Experiment`."
        raise ValueError(f"{name!r}: {place!r} has no function {function!r}. {hint}")
    return _own(name, made)


def _own(name: str, made: Any) -> Recipe:
    made = made.function if isinstance(made, Recipe) else made
    try:
        if get_type_hints(made).get("return") is not Experiment:
            raise TypeError("it is not annotated to return an `Experiment`: write `-> jaxmeta.experiment.Experiment`")
        _arguments.arguments_of(made)
    except (TypeError, NameError) as error:
        raise ValueError(f"{name!r} is no recipe: {error}") from error
    return Recipe(made, name)


def _returns_experiment(value: Any) -> bool:
    try:
        return isinstance(value, Recipe) or get_type_hints(value).get("return") is Experiment
    except (TypeError, NameError, AttributeError):
        return False


def _file(name: str, path: Path) -> ModuleType:
    """Import a file, with its folder on the path so that it can import its neighbours."""
    if not path.is_file():
        raise ValueError(f"{name!r}: there is no file {str(path)!r}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # it ends with .py
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules.setdefault(path.stem, module)  # dataclasses look their module up
    _run(name, lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    return module


def _module(name: str, place: str) -> ModuleType:
    sys.path.insert(0, "")
    return _run(name, lambda: importlib.import_module(place))


def _run(name: str, load: Callable[[], Any]) -> Any:
    """Import code of the user's; an error in it is theirs to see, as one sentence with the place."""
    try:
        return load()
    except Exception as error:
        trace, where = error.__traceback__, ""
        while trace is not None:
            where, trace = f"{trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}", trace.tb_next
        raise ValueError(
            f"{name!r} cannot be imported: {type(error).__name__}: {error} ({where}). Set JAXMETA_DEBUG=1 to see the "
            "traceback."
        ) from error
