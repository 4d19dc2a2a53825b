"""The command line: help, names, run folders, and what is said when something is wrong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jax
import numpy as np
import pytest

from jaxmeta.arguments import arguments_of
from jaxmeta.cli import UNREAD, main
from jaxmeta.cli._run import DIVERGED, INTERRUPTED, LOST
from jaxmeta.recipes import RECIPES
from jaxmeta.recipes._characters import Algorithm as Characters
from jaxmeta.recipes._curves import Algorithm as Curves
from jaxmeta.runs._folder import next_free
from jaxmeta.runs._journal import append
from jaxmeta.runs._json import write_json

OMNIGLOT = Path(__file__).parents[3] / "shared" / "data" / "omniglot"
SINE = ["sinusoid_maml", "--num-steps", "4", "--test-tasks", "64", "--hidden", "8", "--num-test-steps", "2"]
QUADRATICS = ["--rule", "schedule", "--num-inner-steps", "3", "--num-dims", "2", "--test-tasks", "8"]
FILES = "config.json params checkpoints metrics.jsonl timing.jsonl results.json learning_curve.png report.html".split()
SMALL = ["--num-steps", "4", "--features", "4", "--test-tasks", "3", "--num-test-queries", "2"]
TINY = {
    "glyphs_maml": [*SMALL, "--num-ways", "2", "--tasks-per-step", "2"],
    "omniglot_maml_5w1s": [*SMALL, "--num-test-steps", "1", "--tasks-per-step", "1"],
    "omniglot_protonet_5w1s": [*SMALL, "--num-train-ways", "8"],
}


@pytest.fixture(scope="module")
def sine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sine"
    assert main(["train", *SINE, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(sine, tmp_path):
    """A folder whose configuration a test may spoil; the caller passes what changes."""

    def spoil(**changes):
        about = json.loads((sine / "config.json").read_text()) | changes
        (tmp_path / "config.json").write_text(json.dumps(about))
        return tmp_path

    return spoil


def fails(capsys, args, *texts):
    assert main([str(a) for a in args]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("jaxmeta: error: ") and said.err.count("\n") == 1, said.err
    for text in texts:
        assert text in said.err
    return said.err


def test_help_and_version(capsys):
    assert main([]) == main(["--help"]) == main(["--version"]) == 0
    assert "jaxmeta train [RECIPE]" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.endswith("s") or name.endswith("maml_20w5s")])
def test_every_knob_is_a_flag(name, capsys):
    assert main(["train", name, "--help"]) == 0
    said = capsys.readouterr().out
    knobs = arguments_of(RECIPES[name])
    for knob in ("seed", "out", "minutes", *knobs):
        assert f"--{knob.replace('_', '-')}" in said
    assert ("--data-dir" in said) == ("data_dir" in knobs)
    assert main(["evaluate", "--help"]) == 0


def test_list(capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("glyphs_maml", "protonet", "from_folder", "Conv4"))
    assert main(["list", "algorithms"]) == 0
    said = capsys.readouterr().out
    assert "reptile" in said and "Conv4" not in said
    assert main(["list", "--json"]) == main(["list", "backbones", "--json"]) == 0
    everything, _, backbones = capsys.readouterr().out.partition("\n}\n")
    found = json.loads(everything + "}")
    assert list(found["recipes"]) == list(RECIPES) and found["algorithms"]["maml"].startswith("Model-agnostic")
    assert list(json.loads(backbones)) == ["backbones"] and "Conv4" in json.loads(backbones)["backbones"]


@pytest.mark.parametrize(
    "command", ["evaluate", "adapt", "plan", "list", "compare", "reproduce", "data check", "data describe"]
)
def test_what_prints_a_table_prints_json_too(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    assert " --json " in capsys.readouterr().out


def test_exit_codes_are_on_the_page():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "commands.md").read_text().partition("## Exit codes")[2]
    codes = {0, 1, 2, DIVERGED, LOST, INTERRUPTED, UNREAD}
    assert {int(line.split("|")[1]) for line in page.splitlines() if line[:3].strip("| ").isdigit()} == codes


@pytest.mark.parametrize("call", ["list", "reproduce --list"])  # by print, and by rich
def test_a_reader_who_has_enough(call):
    pipe = subprocess.PIPE
    running = subprocess.Popen([sys.executable, "-m", "jaxmeta", *call.split()], stdout=pipe, stderr=pipe, bufsize=0)
    running.stdout.close()
    assert (running.wait(60), running.stderr.read()) == (UNREAD, b"")


def test_a_pipe_that_is_not_the_output(monkeypatch, capsys):
    def command(args):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("jaxmeta.cli._list.command", command)
    assert main(["list"]) == 2 and "Broken pipe" in capsys.readouterr().err


def test_unknown_names(capsys, tmp_path):
    fails(capsys, ["trian"], "did you mean 'train'?")
    fails(capsys, ["train", "sinusoid_mamal"], "no recipe 'sinusoid_mamal'; did you mean 'sinusoid_maml'")
    fails(capsys, ["train", "sinusoid_mamal"], f"and {len(RECIPES) - 20} more. See `jaxmeta list recipes`.")
    fails(capsys, ["list", "algoritms"], "no `jaxmeta list algoritms`; did you mean 'algorithms'?")
    assert main(["train", "--resume", "runs/a", "--num-steps", "3"]) == 2
    assert "jaxmeta train --resume RUN --help" in " ".join("".join(capsys.readouterr()).split())
    assert main(["train", "sinusoid_maml", "--num-stepz", "3"]) == 2
    assert "--num-steps" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["glyphs_maml", "omniglot_protonet_5w1s", "omniglot_maml_5w1s"])
@pytest.mark.slow
def test_run_folder_of_images(name, tmp_path, capsys):
    data = ["--data-dir", str(OMNIGLOT)] if name.startswith("omniglot") else []
    if data and not OMNIGLOT.is_dir():
        pytest.skip(f"needs the official Omniglot zips in {OMNIGLOT}")
    assert main(["train", name, *TINY[name], *data, "--out", str(tmp_path / "run")]) == 0
    files = {path.name for path in (tmp_path / "run").iterdir()}
    own = "embedding.png" if "protonet" in name else "adaptation_curve.png"
    assert files == {*FILES, "episodes.png", "reliability.png", "confusion.png", own}
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    rows = [row["name"] for row in results["rows"]]
    assert rows[-2].startswith("random initialisation, after") and rows[-1] == "nearest neighbour on pixels"
    assert results["status"] == "finished" and results["step"] == 4
    assert results["published"].split(" (")[0] in capsys.readouterr().out


def test_a_folder_that_may_not_be_written(capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "runs")

    monkeypatch.setattr(Path, "mkdir", refuse)  # a chmod would not keep root out
    fails(capsys, ["train", *SINE], "'runs': you may not read or write there. Work in a folder of your own, or name")


def test_run_folder_of_regression(sine):
    files = {path.name for path in sine.iterdir()}
    assert files == {*FILES, "fits.png", "adaptation_curve.png"}
    rows = json.loads((sine / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["before adaptation (0 steps)", "after 1 step", "after 2 steps"]
    config = json.loads((sine / "config.json").read_text())
    assert (config["recipe"], config["seed"], config["num_steps"]) == ("sinusoid_maml", 0, 4)
    metrics = [json.loads(line) for line in (sine / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in metrics] == [4] and "mse" in metrics[0] and "seconds" not in metrics[0]
    assert "seconds" in json.loads((sine / "timing.jsonl").read_text().splitlines()[0])


@pytest.mark.heavy
@pytest.mark.parametrize(
    "call, names, picture",
    [
        (["curves", "--algorithm", "attentive_process", "--family", "mixture"], ["after adaptation"], "fits.png"),
        (
            ["quadratics", "--rule", "schedule", "--num-inner-steps", "3", "--num-dims", "2"],
            ["after adaptation", *(f"gradient descent, rate {r}" for r in (0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3))],
            None,
        ),
    ],
)
def test_recipes_beyond_classes(call, names, picture, tmp_path):
    short = ["--num-steps", "3", "--test-tasks", "32", "--out", str(tmp_path / "run")]
    assert main(["train", *call, *short]) == 0
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert list(dict.fromkeys(row["name"] for row in rows)) == names
    assert picture is None or (tmp_path / "run" / picture).is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe, algorithm",
    [("characters", a) for a in get_args(Characters)] + [("curves", a) for a in get_args(Curves)],
)
def test_every_algorithm_trains_from_the_command_line(recipe, algorithm, tmp_path):
    short = ["--num-steps", "2", "--tasks-per-step", "2", "--test-tasks", "8", "--out", str(tmp_path / "run")]
    narrow = ["--features", "4"] if recipe == "characters" else []
    assert main(["train", recipe, "--algorithm", algorithm, *short, *narrow]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["status"] == "finished" and all(np.isfinite(row["mean"]) for row in results["rows"])
    jax.clear_caches()  # XLA has crashed in a process that kept the programs of twenty runs


def test_the_same_seed_gives_the_same_bytes(sine, tmp_path):
    assert main(["train", "--again", str(sine), "--out", str(tmp_path / "again")]) == 0  # from its configuration
    assert main(["train", *SINE, "--seed", "1", "--out", str(tmp_path / "other")]) == 0
    read = lambda folder, name: (folder / name).read_bytes()
    for name in ("metrics.jsonl", "results.json", "config.json"):
        assert read(sine, name) == read(tmp_path / "again", name)
    assert read(sine, "metrics.jsonl") != read(tmp_path / "other", "metrics.jsonl")


def test_evaluate_repeats_the_results_and_says_what_it_does(sine, capsys):
    assert main(["evaluate", str(sine), "--num-tasks", "64", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["rows"] == json.loads((sine / "results.json").read_text())["rows"]
    measured = ["before adaptation (0 steps)", "after 1 step", "after 2 steps"]
    told = [f"measuring on 64 held-out tasks: {name}" for name in measured]
    assert said.err.splitlines() == told  # as training does, where stdout is for JSON
    assert main(["evaluate", str(sine), "--num-tasks", "64"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[:3] == told and not said.err


def test_evaluate_with_other_steps_and_split(sine, capsys):
    assert main(["evaluate", str(sine), "--num-tasks", "32", "--split", "val", "--num-inner-steps", "3"]) == 0
    said = capsys.readouterr().out
    assert "after 3 steps" in said and "32 held-out tasks" in said and "0.67 after 1 step" in said


def test_nothing_is_overwritten(sine, capsys, tmp_path, monkeypatch):
    before = (sine / "config.json").read_bytes()
    fails(capsys, ["train", *SINE, "--out", sine], "--out", "nothing is overwritten", "Choose another")
    assert (sine / "config.json").read_bytes() == before
    monkeypatch.chdir(tmp_path)
    assert [str(next_free("x")) for _ in range(2)] == ["runs/x-1", "runs/x-2"]


def test_no_folder_is_left_by_a_call_that_cannot_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(capsys, ["train", "omniglot_maml_5w1s", "--data-dir", tmp_path / "none"], "`--data-dir`", "none")
    fails(capsys, ["train", "glyphs_maml", "--num-ways", "0"], "`--num-ways`")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes, texts",
    [
        ({"recipe": "sinusoid_mamal"}, ["no recipe", "did you mean 'sinusoid_maml'"]),
        ({"recipe": ["os.system"]}, ["the field 'recipe' must be"]),
        ({"recipe": "os:system"}, ["is not imported because a file names it", "--recipe os:system"]),
        ({"arguments": {"num_stepz": 4}}, ["no argument 'num_stepz'", "did you mean 'num_steps'"]),
        ({"arguments": {"num_steps": "4"}}, ["`num_steps` must be a whole number of at least 1, got '4'"]),
        ({"arguments": {"kernel_init": "evil"}}, ["`kernel_init`"]),
        ({"arguments": {"meta_lr": 10**400}}, ["`meta_lr` must be"]),
        ({"arguments": 3}, ["the field 'arguments' must be an object"]),
        ({"seed": "x"}, ["the field 'seed' must be a whole number"]),
        ({"format": 99}, ["format 99"]),
    ],
)
def test_a_strangers_configuration(copy, capsys, changes, texts):
    fails(capsys, ["evaluate", copy(**changes)], "config.json", *texts)


def test_a_damaged_configuration(capsys, tmp_path):
    fails(capsys, ["evaluate", tmp_path], "is not a run folder")
    for text in ("", '{"format": 1, ', "[" * 100_000, "\x00"):
        (tmp_path / "config.json").write_text(text)
        fails(capsys, ["evaluate", tmp_path], "config.json")


def test_parameters_of_another_model(sine, copy, capsys):
    arguments = json.loads((sine / "config.json").read_text())["arguments"] | {"hidden": 9}
    folder = copy(arguments=arguments)
    fails(capsys, ["evaluate", folder], "there is no checkpoint")
    (folder / "params").symlink_to(sine / "params")
    fails(capsys, ["evaluate", folder], "params' is a symbolic link")
    (folder / "params").unlink()
    shutil.copytree(sine / "params", folder / "params")
    fails(capsys, ["evaluate", folder], "another model", "params/dense0/kernel: float32[1, 8] instead of float32[1, 9]")


def test_evaluate_refuses_what_makes_no_sense(sine, capsys):
    fails(capsys, ["evaluate", sine, "--num-inner-steps", "0"], "at least 1")
    fails(capsys, ["evaluate", sine, "--num-tasks", "0"], "`--num-tasks` must be at least 1")
    fails(capsys, ["evaluate", sine, "--data-dir", "x"], "reads no data")


def test_divergence_keeps_the_last_good_state(tmp_path, capsys):
    call = [
        "sinusoid_maml",
        "--num-steps",
        "600",
        "--hidden",
        "4",
        "--inner-lr",
        "1e30",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(["train", *call]) == 3
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["status"] == "diverged" and "NaN or infinite" in results["message"]
    assert "diverged at step" in capsys.readouterr().out
    assert (tmp_path / "run" / "params" / "checkpoint.json").is_file()


def test_json_has_no_nan_and_no_numpy(tmp_path):
    write_json(tmp_path / "a.json", {"x": [np.float32(np.nan), np.int32(3)], "y": float("inf")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [None, 3], "y": None}
    append(tmp_path / "a.jsonl", {"x": 1})
    append(tmp_path / "a.jsonl", {"x": 2})
    assert (tmp_path / "a.jsonl").read_text() == '{"x": 1}\n{"x": 2}\n'
    assert len(list(tmp_path.iterdir())) == 2


def test_a_run_that_was_cut_short_goes_on_as_if_it_had_not_been(tmp_path, capsys):
    flags = ["quadratics", *QUADRATICS, "--num-steps", "150", "--checkpoint-every", "50", "--seed", "5"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["train", *flags, "--out", str(whole)]) == 0
    assert main(["train", *flags, "--out", str(cut), "--minutes", "0"]) == 0  # ends after the first interval
    assert [json.loads(row)["step"] for row in (cut / "metrics.jsonl").read_bytes().splitlines()] == [50]
    with open(cut / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 100, "loss": 9.0}\n{"step": 150, "lo')  # written after the last checkpoint, when killed
    capsys.readouterr()
    assert main(["train", "--resume", str(cut)]) == 0
    assert "from step 50" in capsys.readouterr().out
    assert (cut / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (cut / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    fails(capsys, ["train", "--resume", cut], "has finished", "choose another folder")
    fails(capsys, ["train", "--resume", tmp_path], "is not a run folder")


@pytest.mark.slow
def test_knobs_of_the_computation(tmp_path):
    out = tmp_path / "run"
    knobs = ["--mesh", "task=2", "--fsdp", "--accumulate", "2", "--clip-norm", "1.0", "--guard", "task", "--chunk", "1"]
    knobs += ["--profile", "1:3"]
    assert main(["train", *SINE, "--tasks-per-step", "4", *knobs, "--out", str(out)]) == 0
    kept = json.loads((out / "config.json").read_text())["compute"]
    assert kept == {"accumulate": 2, "clip_norm": 1.0, "guard": "task"}
    assert list((out / "profile").rglob("*.xplane.pb"))
    assert "skipped_tasks" in (out / "metrics.jsonl").read_text()


def test_odd_knobs_are_named(capsys):
    fails(capsys, ["train", *SINE, "--profile", "5"], "`--profile` must be like 100:105", "got '5'")
    fails(capsys, ["train", *SINE, "--mesh", "task=3"], "`--mesh` is task=3, which does not divide the 25 tasks")
    fails(capsys, ["train", *SINE, "--mesh", "data=2"], "must be like task=4", "got 'data=2'")
    fails(capsys, ["train", *SINE, "--accumulate", "0"], "`--accumulate` must be a whole number of at least 1, got 0")


def test_a_command_loads_its_own_module_alone():
    code = (
        "import sys\nfrom jaxmeta.cli import main\nmain(['--help'])\n"
        "print([m for m in sys.modules if m.startswith(('jaxmeta.cli._', 'tyro', 'flax', 'rich'))], file=sys.stderr)\n"
        "main(['list', 'tasks'])\n"
        "print('jaxmeta.cli._train' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["['jaxmeta.cli._call']", "False"]
