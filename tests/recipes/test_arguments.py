"""Arguments of recipes, flat: their defaults, what refuses them, and functions of the user's own."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optax
import pytest

from jaxmeta.arguments import arguments_of, build, check, defaults, flat, grouped
from jaxmeta.experiment import Experiment, nearest_neighbour
from jaxmeta.recipes import RECIPES


@dataclass(frozen=True)
class Layout:
    ways: int = 5
    shots: int = 1


EMPTY = Experiment(nearest_neighbour(), optax.sgd(1.0), lambda split: None, 1, 1, "none")


def own(
    *, path: Path, layout: Layout = Layout(20, 1), rate: float = 0.5, kind: Literal["a", "b"] = "a",
    sizes: tuple[int, ...] = (1, 2), limit: int | None = None,
) -> Experiment:  # fmt: skip
    return EMPTY._replace(note=lambda: (path, layout, rate, kind, sizes, limit))  # type: ignore


def test_fields_of_a_dataclass_are_arguments_with_the_defaults_of_the_recipe():
    assert defaults(own) == {"ways": 20, "shots": 1, "rate": 0.5, "kind": "a", "sizes": (1, 2), "limit": None}
    assert [a.group for a in arguments_of(own).values()] == [None, "layout", "layout", None, None, None, None]
    given = {"path": Path("x"), "ways": 3, "rate": 2}
    assert grouped(own, given) == {"path": Path("x"), "layout": Layout(3, 1), "rate": 2}
    assert flat(own, grouped(own, given)) == given | {"shots": 1}


def test_a_configuration_is_read_as_it_was_written():
    given = {"path": "x", "sizes": (3, 4), "rate": 1, "limit": 7}
    made = build(own, json.loads(json.dumps(given)))
    assert made.note() == (Path("x"), Layout(20, 1), 1, "a", (3, 4), 7) and made.recipe == "own"
    assert json.loads(json.dumps(made.arguments, default=str))["sizes"] == [3, 4]


@pytest.mark.parametrize(
    "value, message",
    [
        ({"rate": math.nan}, "`rate` must be a finite number, got nan"),
        ({"rate": 10**400}, "`rate` must be a finite number"),
        ({"rate": True}, "`rate` must be a finite number, got True"),
        ({"kind": "c"}, "`kind` must be 'a' or 'b', got 'c'"),
        ({"sizes": [1, "x"]}, "`sizes` must be a list whose entries are each a whole number"),
        ({"limit": "x"}, "`limit` must be a whole number or None"),
        ({"limit": 10**5000}, None),
        ({"ways": 2.0}, "`ways` must be a whole number, got 2.0"),
        ({"wayz": 2}, "there is no argument 'wayz'; did you mean 'ways'"),
        ({"layout": 2}, "there is no argument 'layout'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(value, message):
    if message is None:
        assert check(own, {"path": "x"} | value)["limit"] == 10**5000
        return
    with pytest.raises(ValueError, match="config.json: " + message):
        check(own, {"path": "x"} | value, "config.json")


def test_a_required_argument_is_asked_for():
    with pytest.raises(ValueError, match="--path is required"):
        check(own, {}, named="--{}".format)


def untyped(rate=0.5) -> Experiment: ...  # type: ignore


def twice(*, layout: Layout = Layout(), ways: int = 3) -> Experiment: ...  # type: ignore


def many(**rest: int) -> Experiment: ...  # type: ignore


@pytest.mark.parametrize(
    "function, message", [(untyped, "`rate` has no type"), (twice, "two arguments `ways`"), (many, "by name")]
)
def test_functions_that_are_no_recipes_are_refused(function, message):
    with pytest.raises(TypeError, match=message):
        defaults(function)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_accepts_its_own_defaults(name):
    given = defaults(RECIPES[name])
    assert check(RECIPES[name], json.loads(json.dumps(given))) == given
