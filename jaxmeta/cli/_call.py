"""A parsed call of a command."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A parsed call of a command: the function that runs it, and its arguments by position and by name."""

    function: Callable[..., int]
    positional: tuple[Any, ...]
    arguments: Mapping[str, Any]

    def run(self) -> int:
        """Run the command and return its exit code."""
        return self.function(*self.positional, **self.arguments)
