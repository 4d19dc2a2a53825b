"""Runs side by side: finished ones, others, and folders that are none."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxmeta.cli import main
from jaxmeta.runs._journal import append
from jaxmeta.runs._json import write_json


def make(folder, *, lr=0.1, seed=0, finished=True, mean=0.5, **config):
    """A run folder as training leaves it."""
    folder.mkdir(parents=True)
    about = {"format": 1, "recipe": "sinusoid_maml", "arguments": {"inner_lr": lr, "hidden": 8}, "seed": seed}
    write_json(folder / "config.json", about | {"compute": {"guard": "step"}, "num_steps": 20} | config)
    for step, rate in ((10, 1.0), (15, 40.0), (20, 60.0)):
        append(folder / "metrics.jsonl", {"step": step, "loss": 1.0 / step, "mse": 1.0 / step})
        append(folder / "timing.jsonl", {"step": step, "seconds": 0.1 * step, "tasks_per_second": rate})
    if finished:
        row = {"metric": "mse", "ci95": 0.01, "num_tasks": 64, "transductive": False}
        names = {"before adaptation (0 steps)": 9.0, "after 1 step": 2.0, "after 5 steps": mean, "beside": 7.0}
        rows = [{"name": name, "mean": value, **row} for name, value in names.items()]
        write_json(folder / "results.json", {"status": "finished", "step": 20, "num_steps": 20, "rows": rows})
    return str(folder)


@pytest.fixture
def runs(tmp_path):
    return make(tmp_path / "a" / "run"), make(tmp_path / "b" / "run", lr=0.2, mean=0.25), make(tmp_path / "c")


def fails(capsys, *args):
    assert main(["compare", *args]) == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxmeta: error: ") and said.count("\n") == 1
    return said


def test_the_table(runs, capsys):
    assert main(["compare", *runs]) == 0
    said = capsys.readouterr().out
    head, first, second, third = (
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]
        for line in said.splitlines()
        if line[0] in "┃│"
    )
    assert head == ["run", "recipe", "inner_lr", "steps", "mse", "tasks/s"]
    assert first == ["a/run", "sinusoid_maml", "0.1", "20", "0.500 ± 0.010", "50"]
    assert second[2:5] == ["0.2", "20", "0.250 ± 0.010"] and third[0] == "c"


def test_json(runs, capsys):
    assert main(["compare", *runs[:2], "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["runs"]
    assert first["arguments"] == {"inner_lr": 0.1} and second["arguments"] == {"inner_lr": 0.2}
    assert first["tasks_per_second"] == 50 and [row["mean"] for row in second["rows"]] == [9.0, 2.0, 0.25, 7.0]


def test_runs_that_are_not_finished_are_shown(tmp_path, capsys):
    running, new = make(tmp_path / "running", finished=False), tmp_path / "new"
    new.mkdir()
    write_json(new / "config.json", {"recipe": "curves", "num_steps": 7})
    with open(tmp_path / "running" / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 25, "lo')  # a line that is being written
    assert main(["compare", running, str(new), "--out", str(tmp_path / "x.png")]) == 0
    said = capsys.readouterr().out
    assert "20 of 20 (unfinished)" in said and "0 of 7 (unfinished)" in said
    assert np.asarray(Image.open(tmp_path / "x.png").convert("L")).std() > 5


def test_many_arguments_get_a_table_of_their_own(tmp_path, capsys):
    first = make(tmp_path / "a", arguments={name: 1 for name in "uvwxyz"})
    second = make(tmp_path / "b", arguments={name: 2 for name in "uvwxyz"})
    assert main(["compare", first, second]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│ w ")]
    assert [cell.strip() for cell in rows[0].split("│")[1:4]] == ["w", "1", "2"]


def test_the_same_run_twice_and_a_picture(runs, capsys, tmp_path):
    out = tmp_path / "compare.svg"
    assert main(["compare", runs[0], runs[0], "--out", str(out)]) == 0
    assert "run (1)" in capsys.readouterr().out and b"<svg" in out.read_bytes()
    assert "nothing is overwritten" in fails(capsys, runs[0], "--out", str(out))


def test_strangers_words_do_not_command_the_terminal(tmp_path, capsys):
    evil = "\x1b[2J[bold]x[/nope]"
    runs = [make(tmp_path / name, arguments={evil: name}, recipe=evil) for name in "ab"]
    assert main(["compare", *runs]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and "[bold]x[/nope]" in said


def test_what_cannot_be_compared(tmp_path, capsys, runs):
    assert "is not a run folder" in fails(capsys, str(tmp_path))
    assert "is not a run folder" in fails(capsys, runs[0], str(tmp_path / "none"))
    assert "must end in .png" in fails(capsys, runs[0], "--out", str(tmp_path / "x.exe"))
    assert "does not exist" in fails(capsys, runs[0], "--out", str(tmp_path / "no" / "x.png"))
    (tmp_path / "c" / "results.json").write_text("{")
    assert "results.json" in fails(capsys, runs[2])
    new = tmp_path / "new"
    new.mkdir()
    write_json(new / "config.json", {})
    assert "logged a step" in fails(capsys, str(new), "--out", str(tmp_path / "y.png"))
    assert "needs run folders" in fails(capsys)
