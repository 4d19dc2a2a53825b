"""Completion: the script names what the commands take, and a shell makes use of it."""

import re
import shutil
import subprocess

import pytest

from jaxmeta.cli import COMMANDS, main
from jaxmeta.cli._completion import table
from jaxmeta.recipes import RECIPES


@pytest.mark.parametrize(
    "path",
    [
        *((name,) for name in ("evaluate", "adapt", "compare", "reproduce", "list", "completion")),
        *(("train", "characters"), ("plan", "curves"), ("data", "check"), ("data", "preview")),
    ],
)
def test_the_flags_are_those_of_the_help(path, capsys):
    assert main([*path, "--help"]) == 0
    said = capsys.readouterr().out
    lines = re.findall(r"^[│ ]+((?:-h, )?--[a-z].*)$", said, re.M)
    shown = {flag for line in lines for flag in re.findall(r"--[a-z][a-z-]*", line.split("  ")[0])}
    assert set(filter(None, table()[path])) == shown


def complete(shell_script, *words):
    """What bash offers for the last word."""
    script = f"{shell_script}\nCOMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _jaxmeta\n"
    script += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert not done.stderr
    return done.stdout.split()


def test_bash(capsys):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    offered = lambda *words: complete(script, "jaxmeta", *words)
    assert offered("tr") == ["train"] and offered("") == list(COMMANDS)
    assert offered("train", "") == list(RECIPES) == offered("plan", "")
    assert offered("train", "sin") == ["sinusoid_maml"]
    assert offered("train", "characters", "--alg") == ["--algorithm"]
    assert offered("train", "characters", "--seed", "3", "--algorithm", "proton") == ["protonet"]
    assert offered("train", "sinusoid_maml", "--alg") == []
    assert offered("train", "--res") == ["--resume"] and offered("train", "--log", "ten") == ["tensorboard"]
    assert offered("evaluate", "runs/x", "--split", "") == ["test", "val"]
    assert offered("evaluate", "") == []  # and bash offers files
    assert offered("list", "re") == ["recipes"] and offered("completion", "f") == ["fish"]
    assert offered("data", "pre") == ["preview"] and offered("data", "check", "--sp") == ["--split"]
    assert offered("reproduce", "sin") == ["sinusoid"] and offered("adapt", "run", "--sup") == ["--support"]
    assert offered("nonsense", "x") == []


def test_every_command_is_known():
    assert {path[0] for path in table()} == set(COMMANDS)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_theirs(shell, capsys, tmp_path):
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    if shell == "zsh":
        asked = f"compdef() {{ :; }}; source {script} && whence -w _jaxmeta"
        done = subprocess.run([shell, "-fc", asked], capture_output=True, text=True, timeout=30)
        assert "_jaxmeta: function" in done.stdout, done.stderr
        return
    asked = f"source {script}; complete -C 'jaxmeta train characters --algorithm proto'; complete -C 'jaxmeta tr'"
    done = subprocess.run([shell, "-Nc", asked], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["protonet", "train"], done.stderr


def test_an_unknown_shell(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "tcsh" in "".join(capsys.readouterr())
