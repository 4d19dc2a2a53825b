"""Deprecated names warn once, at the caller's line, and leave in the version that they announced."""

import warnings
from importlib import import_module
from pathlib import Path

import pytest

import jaxmeta as jm
from jaxmeta._deprecation import DEPRECATED, deprecated


def test_the_first_call_warns_at_the_callers_line():
    @deprecated(use="jm.fit", until="99.0")
    def train(steps: int) -> int:
        """Train."""
        return 2 * steps

    DEPRECATED.pop(f"{train.__module__}.{train.__qualname__}")
    assert train.__doc__ == "Train."
    with pytest.warns(DeprecationWarning, match=r"`train` .* removed in jaxmeta 99.0: use `jm.fit`") as seen:
        assert train(3) == 6
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(steps=4) == 8


def test_no_deprecated_name_outlives_its_version():
    package = Path(jm.__file__).parent
    for path in package.rglob("*.py"):
        if "@deprecated" in path.read_text() and path.name != "_deprecation.py":
            import_module(".".join(["jaxmeta", *path.relative_to(package).with_suffix("").parts]))
    number = lambda version: tuple(int(part) for part in version.split(".")[:2])
    late = {name: entry.until for name, entry in DEPRECATED.items() if number(entry.until) <= number(jm.__version__)}
    assert not late, f"remove these, or release them once more with a later version: {late}"
