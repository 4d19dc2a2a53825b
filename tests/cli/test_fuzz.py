"""Odd values for every flag: refused with exit code 2 and a sentence before anything is made, or accepted and kept."""

import json
import random
from typing import Annotated, Literal, get_args, get_origin

import pytest

from jaxmeta.arguments import arguments_of, check
from jaxmeta.cli import COMMANDS, main
from jaxmeta.cli import _plan as plan
from jaxmeta.cli import _train as train
from jaxmeta.cli._completion import flags
from jaxmeta.recipes import RECIPES
from jaxmeta.runs._json import plain

ODD = ["0", "-1", "1000000000", "1e20", "100000000000000000000", "nan", "inf", "-inf", "", "9" * 5000]
LEFT_OUT = ("--help", "--out", "--data-dir", "--coordinator", "--distributed")
OTHERS = ("evaluate", "adapt", "compare", "reproduce", "list", "data", "completion")


class Accepted(Exception):
    """A call that validation let through: nothing runs."""


def cases(count, seed=0):
    """Calls with one or two odd values, over all recipes and their flags, and over the other commands."""
    draw = random.Random(seed)
    for i in range(count):
        if i % 5 == 4:
            command = draw.choice(OTHERS)
            words = {"data": ["data", "check"], "reproduce": ["reproduce", "sinusoid"]}.get(command, [command])
            odd = f"--{draw.choice(['seeds', 'minutes', 'num-tasks'])}={draw.choice(ODD)}"
            yield [*words, draw.choice(["", "x"]), odd]
            continue
        command, name = draw.choice(["train", "train", "train", "plan"]), draw.choice(list(RECIPES))
        own = train.Flags if command == "train" else plan.Flags
        known = [flag for flag in flags(own) | flags(RECIPES[name].function) if flag not in LEFT_OUT]
        known = [flag for flag in known if not flag.startswith("--no-")]
        yield [command, name, *(f"{flag}={draw.choice(ODD)}" for flag in draw.sample(known, draw.choice([1, 1, 2])))]


def accept(recipe, own, arguments):
    """What a configuration holds is what it was written from, and fits the recipe when it is read."""
    stored = json.loads(json.dumps(plain(arguments), allow_nan=False))
    assert check(recipe, stored, "config.json") == arguments
    raise Accepted


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.slow)])
def test_odd_values_are_refused_or_can_be_kept(count, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "_train", accept)
    monkeypatch.setattr(plan, "_plan", accept)
    refused = 0
    for call in cases(count):
        try:
            code = main(call)
        except Accepted:
            continue
        said = capsys.readouterr()
        assert code == 2, (call, code, said.err)
        assert "Traceback" not in said.err and said.err.strip(), (call, said)
        refused += 1
    assert refused > count / 2 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", RECIPES)
def test_every_number_of_a_recipe_has_a_range(name):
    for argument in arguments_of(RECIPES[name]).values():
        options = get_args(argument.hint) if get_origin(argument.hint) not in (Annotated, Literal) else ()
        assert not {int, float} & {argument.hint, *options}, argument.name


def test_all_commands_are_tried():
    assert {*OTHERS, "train", "plan"} == set(COMMANDS)
