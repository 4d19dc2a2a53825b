"""Tables, reproduced in small: trained, gone on with, skipped, compared, written."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from jaxmeta.cli import main
from jaxmeta.recipes import TABLES, Figure, Row
from jaxmeta.runs._machine import commit, hardware
from jaxmeta.runs._tables import read_row, verdict

TINY = ["reproduce", "sinusoid", "--num-steps", "4", "--test-tasks", "16"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two seeds of the sinusoids' table."""
    out = tmp_path_factory.mktemp("tables") / "out"
    assert main([*TINY, "--seeds", "2", "--out", str(out)]) == 0
    return out


def fails(capsys, args, *texts):
    assert main([str(a) for a in args]) == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxmeta: error: ") and all(text in said for text in texts), said


def test_table_of_two_seeds(done, capsys):
    assert main([*TINY, "--seeds", "2", "--out", str(done)]) == 0
    said = capsys.readouterr().out
    assert "training" not in said  # both are complete
    assert "sinusoid_maml, after 10 steps" in said and "0.67" in said and "8 of 8" in said and "? / 16" in said
    about = json.loads((done / "table.json").read_text())
    assert about["table"] == "sinusoid" and about["versions"]["jax"] and "cores" in about["hardware"]
    one, ten = about["rows"]
    means = [json.loads((done / f"sinusoid_maml-seed{k}" / "results.json").read_text())["rows"] for k in (0, 1)]
    values = [next(r["mean"] for r in rows if r["name"] == "after 1 step") for rows in means]
    assert one["ours"]["mean"] == pytest.approx(sum(values) / 2) and one["published"]["mean"] == 0.67
    assert one["ours"]["ci95"] == pytest.approx(12.706 * abs(values[0] - values[1]) / 2, rel=1e-4)  # t for one degree
    assert [run["seed"] for run in ten["runs"]] == [0, 1] and ten["verdict"] and not ten["transductive"]


def test_show_trains_nothing_and_json_is_alone(done, capsys, tmp_path):
    assert main([*TINY, "--show", "--json", "--out", str(tmp_path / "none")]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["ours"] for row in rows] == [None, None] and not (tmp_path / "none").exists()
    assert main([*TINY, "--show", "--out", str(done)]) == 0
    assert "after 10 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_rows_that_train_alike_are_trained_once(tmp_path, capsys, monkeypatch):
    """The second row has the first one's training, to the byte, and measurements of its own."""
    few = Row("few", "sinusoid_maml", Figure("1", "paper", metric="mse"))
    one = few._replace(name="one", values={"num_test_shots": 1}, trained_as="few")
    monkeypatch.setitem(TABLES, "waves", (one, few))
    call = ["reproduce", "waves", "--test-tasks", "64", "--num-steps", "4", "--out", str(tmp_path)]
    assert main([*call, "--json"]) == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)["rows"]
    assert said.err.index("few-seed0") < said.err.index("one-seed0, from step 4")
    folders = [tmp_path / "few-seed0", tmp_path / "one-seed0"]
    for name in ("metrics.jsonl", "timing.jsonl"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1
    found = [row["ours"]["mean"] for row in rows]
    assert found[0] != found[1] and "cores" in rows[0]["runs"][0]["about"]["hardware"]
    shutil.rmtree(folders[1])
    assert main([*call, "--num-steps", "3", "--only", "one"]) == 0
    assert "from step" not in capsys.readouterr().out  # the other was trained in another way


def test_a_recipe_may_get_a_further_argument(done, tmp_path, capsys):
    """A run of before has its default."""
    folder = tmp_path / "sinusoid_maml-seed0"
    shutil.copytree(done / folder.name, folder)
    config = json.loads((folder / "config.json").read_text())
    del config["arguments"]["remat"]
    (folder / "config.json").write_text(json.dumps(config))
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    assert "training" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_cut_short_is_gone_on_with(tmp_path, capsys):
    call = ["reproduce", "sinusoid", "--num-steps", "1000", "--test-tasks", "8", "--out", str(tmp_path)]
    assert main([*call, "--minutes", "0", "--json"]) == 0  # ends after the first interval
    said = capsys.readouterr()
    rows = json.loads(said.out)["rows"]
    assert rows[0]["runs"][0]["step"] == 500 and rows[0]["ours"] and "training" in said.err
    assert main(call) == 0
    said = capsys.readouterr().out
    assert "from step 500" in said and "1,000 of 1,000" in said


def test_killed_runs_are_unfinished_and_their_old_figures_do_not_count(done, tmp_path):
    import shutil

    shutil.copytree(done / "sinusoid_maml-seed0", tmp_path / "sinusoid_maml-seed0")
    with open(tmp_path / "sinusoid_maml-seed0" / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 9}\n{"ste')
    ours = read_row(TABLES["sinusoid"][0], tmp_path)
    assert [(run.status, run.step, run.found) for run in ours.runs] == [("unfinished", 9, None)]
    assert math.isnan(ours.mean) and verdict(ours.row.figure, ours.mean, ours.ci95) == ""


def test_a_run_is_counted_once(done, tmp_path):
    """Folder names are not seeds: of 7 and 07 one is read, and an interval needs two."""
    row = TABLES["sinusoid"][0]
    for end in ("7", "07"):
        shutil.copytree(done / f"{row.name}-seed0", tmp_path / f"{row.name}-seed{end}")
    assert [run.seed for run in read_row(row, tmp_path).runs] == [7]


def test_a_diverged_run_is_not_tried_again(done, tmp_path, capsys):
    import shutil

    folder = tmp_path / "sinusoid_maml-seed0"
    shutil.copytree(done / "sinusoid_maml-seed0", folder)
    results = json.loads((folder / "results.json").read_text()) | {"status": "diverged", "rows": []}
    (folder / "results.json").write_text(json.dumps(results))
    assert main([*TINY, "--out", str(tmp_path)]) == 3
    said = capsys.readouterr().out
    assert "diverged" in said and "training" not in said


def test_seeds_without_a_figure_are_counted(done, tmp_path, capsys):
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "sinusoid_maml-seed1" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "diverged", "rows": []}))
    assert main([*TINY, "--show", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("1 of 2") == 2


def test_what_is_wrong_is_said_first(done, capsys, tmp_path):
    fails(capsys, ["reproduce", "sinusiod"], "no table 'sinusiod'; did you mean 'sinusoid'?")
    fails(capsys, ["reproduce", "omniglot_protonet", "--only", "omniglot_protnet_5w1s"], "no row", "protonet_5w1s")
    fails(capsys, [*TINY, "--seeds", "0"], "`--seeds` must be a whole number of at least 1, got 0")
    fails(capsys, [*TINY, "--checkpoint-every", "0"], "`--checkpoint-every` must be a whole number of at least 1")
    fails(capsys, [*TINY[:2], "--num-steps", "5", "--test-tasks", "16", "--out", done], "num_steps 4 and not 5")
    (tmp_path / "sinusoid_maml-seed0").mkdir()
    (tmp_path / "sinusoid_maml-seed0" / "mine").touch()
    fails(capsys, [*TINY, "--out", tmp_path], "nothing is overwritten")


def test_tables_are_listed(capsys):
    assert main(["reproduce"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == list(TABLES)
    (sine,) = (line for line in said if line.startswith("sinusoid"))
    assert (
        sine.split("  ", 1)[1].strip() == "2 rows, 70,000 steps of training, 1,750,000 tasks; MAML paper, section 5.1"
    )
    assert main(["reproduce", "omniglot", "--list", "--only", "*protonet*"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n  omniglot_protonet_") == 4 and "96.0 % (1,000 tasks" in said and "maml" not in said
    assert main(["reproduce", "omniglot", "--list", "--only", "*protonet_5w1s", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["omniglot"]
    assert row["recipe"] == "omniglot_protonet_5w1s" and row["published"]["source"].startswith("ProtoNet paper")
    assert main(["reproduce", "--json"]) == 0 and set(json.loads(capsys.readouterr().out)) == set(TABLES)


@pytest.mark.parametrize(
    "value, mean, ci95, expected",
    [("98.8", 98.7, 0.2, "overlaps"), ("98.8", 98.8, 0.2, "within"), ("98.8", 98.9, 0.2, "better"),
     ("98.7 ± 0.4", 98.3, math.nan, "within"), ("98.7 ± 0.4", 98.2, math.nan, "worse")],
)  # fmt: skip
def test_verdict(value, mean, ci95, expected):
    assert verdict(Figure(value, "paper"), mean, ci95) == expected
    error = Figure("0.35", "paper", metric="mse")
    assert [verdict(error, mean, 0.01) for mean in (0.3, 0.35, 0.355, 0.4)] == ["better", "within", "overlaps", "worse"]
    assert verdict(Figure(value, "paper", known="memory"), mean, ci95) == "unverified figure"


def test_hardware_and_commit(tmp_path):
    assert "cores" in hardware() and commit(tmp_path) is None
    git = lambda *args: subprocess.run(["git", "-C", str(tmp_path), *args], check=True, capture_output=True)
    (tmp_path / "__init__.py").touch()
    git("init", "-q")
    assert commit(tmp_path) is None  # within a checkout, but not of the package
    git("add", "__init__.py")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x")
    assert len(commit(tmp_path)) >= 7 and not commit(tmp_path).endswith("+")
    (tmp_path / "__init__.py").write_text("x")
    assert commit(tmp_path).endswith("+")


@pytest.mark.slow
def test_a_signal_keeps_the_run_and_ends_the_table(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    call = [sys.executable, "-m", "jaxmeta", "reproduce", "sinusoid", "--num-steps", "100000000", "--seeds", "2"]
    call += ["--out", str(tmp_path)]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    limit = time.monotonic() + 100
    while not (tmp_path / "sinusoid_maml-seed0" / "timing.jsonl").exists():
        assert process.poll() is None and time.monotonic() < limit, process.communicate(timeout=5)
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130 and "interrupted at step" in out, err
    runs = json.loads((tmp_path / "table.json").read_text())["rows"][0]["runs"]
    assert [run["status"] for run in runs] == ["interrupted"] and runs[0]["step"] > 0  # the second has not begun
