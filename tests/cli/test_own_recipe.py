"""A function of the user's own as a recipe: flags and help as a built-in one has, and errors in a sentence."""

import json
import subprocess
import sys

import pytest

from jaxmeta.cli import main
from jaxmeta.recipes import find

MINE = '''
from typing import Annotated
import neighbour
from jaxmeta.experiment import Experiment
from jaxmeta.recipes import sinusoid_maml

def mine(*, inner_lr: float = 0.01, sizes: tuple[int, ...] = (4, 4), name: str = "x") -> Experiment:
    """My experiment on sine waves.

    Args:
      inner_lr: step size of adaptation.
      sizes: hidden widths.
      name: a name.
    """
    return sinusoid_maml(num_steps=neighbour.STEPS, hidden=sizes[0], inner_lr=inner_lr, test_tasks=8, num_test_steps=1)

def untyped(rate=0.1) -> Experiment: ...
def unreturned(*, rate: float = 0.1): ...
def wrong(*, rate: float = 0.1) -> Experiment: return 3
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_file.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("import jaxmeta\n1 / 0\n")
    (tmp_path / "neighbour.py").write_text("STEPS = 4\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_it_has_flags_help_and_a_run_folder(folder, capsys):
    assert main(["train", "my_file.py:mine", "--help"]) == 0
    said = capsys.readouterr().out
    assert "My experiment on sine waves." in said and "--inner-lr" in said and "hidden widths" in said
    assert main(["train", "my_file.py:mine", "--inner-lr", "0.02", "--sizes", "3", "5", "--out", "run"]) == 0
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["recipe"] == "my_file.py:mine" and config["num_steps"] == 4
    assert config["arguments"] == {"inner_lr": 0.02, "sizes": [3, 5], "name": "x"}
    made = find("my_file.py:mine")(**config["arguments"])
    assert made.arguments["sizes"] == (3, 5) and made.recipe == "my_file.py:mine"


@pytest.mark.parametrize(
    "name, text",
    [
        ("nofile.py:mine", "there is no file 'nofile.py'"),
        ("my_file.py:mime", "has no function 'mime'. did you mean 'mine'?"),
        ("my_file.py", "A recipe of your own is named my_file.py:my_function"),
        ("my_file.py:untyped", "parameter `rate` has no type"),
        ("my_file.py:unreturned", "not annotated to return an `Experiment`"),
        ("my_file.py:wrong", "must return an `Experiment`, but it returned int"),
        ("broken.py:mine", "cannot be imported: ZeroDivisionError: division by zero"),
        ("no.such.module:mine", "cannot be imported: ModuleNotFoundError"),
        ("json:loads", "is no recipe"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder, capsys, name, text):
    assert main(["train", name]) == 2
    said = capsys.readouterr().err
    assert text in said and said.startswith("jaxmeta: error: ") and said.count("\n") == 1
    assert not (folder / "runs").exists()


def test_odd_values_are_refused_without_annotations(folder, capsys):
    assert main(["train", "my_file.py:mine", "--inner-lr", "nan"]) == 2
    assert "`--inner-lr` must be a finite number, got nan" in capsys.readouterr().err


def test_a_module_that_python_finds(folder, capsys):
    call = [sys.executable, "-m", "jaxmeta", "train", "my_file:mine", "--help"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "My experiment on sine waves." in done.stdout, done.stderr
