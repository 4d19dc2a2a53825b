"""Deprecate a public function: it keeps working for two minor releases and warns once."""

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Deprecation(NamedTuple):
    """A name that leaves: what replaces it, and the first version without it."""

    use: str
    until: str


DEPRECATED: dict[str, Deprecation] = {}  # by qualified name; a test fails once a version is reached


def deprecated(*, use: str, until: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that warns at the first call of a function.

    Args:
      use: the expression that replaces it, for instance ``"jm.fit"``.
      until: the first version in which the function is gone.

    Returns: the decorator. The decorated function behaves as before.

    Example:
      >>> @deprecated(use="jm.fit", until="99.0")
      ... def train(steps):
      ...     return steps
      >>> import warnings
      >>> with warnings.catch_warnings(record=True) as seen:
      ...     warnings.simplefilter("always")
      ...     results = train(1), train(2)
      >>> results, [str(warning.message) for warning in seen]
      ((1, 2), ['`train` is deprecated and will be removed in jaxmeta 99.0: use `jm.fit`.'])
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        message = f"`{function.__name__}` is deprecated and will be removed in jaxmeta {until}: use `{use}`."
        warned = False

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            nonlocal warned
            if not warned:
                warned = True
                warnings.warn(message, DeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        DEPRECATED[f"{function.__module__}.{function.__qualname__}"] = Deprecation(use, until)
        return call

    return decorate
