"""Run folders elsewhere, without a server: what an object store gets, when, and what is said where it cannot be."""

import json
import shutil

import jax
import numpy as np
import pytest
from shelf import Shelf

import jaxmeta as jm
from jaxmeta import FewShotClassifier, checkpoint, runs, storage
from jaxmeta.cli import main
from jaxmeta.types import Variables

SINE = ["sinusoid_maml", "--hidden", "8", "--num-steps", "1500", "--tasks-per-step", "4", "--test-tasks", "32"]
SINE += ["--num-test-steps", "1"]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A run on this machine that nobody disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "here"
    assert main(["train", *SINE, "--checkpoint-every", "500", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """The folder behind ``shelf://``."""
    monkeypatch.setitem(storage.SCHEMES, "shelf", "json")
    monkeypatch.setattr(Shelf, "folder", tmp_path / "shelf", raising=False)
    return tmp_path / "shelf"


class Killed(BaseException):
    """Nothing in a run expects it, as nothing can a signal."""


def kill(monkeypatch, kind, method, at):
    """The ``at``-th call of a method ends the run before anything is done."""
    real, calls = getattr(kind, method), []

    def once(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(kind, method, once)


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(shelf, here, monkeypatch, at):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill(patch, checkpoint.Keeper, "save", at)
        main(["train", *SINE, "--checkpoint-every", "500", "--out", "shelf://a/run"])
    there = shelf / "a" / "run"
    steps = [json.loads(line)["step"] for line in (there / "metrics.jsonl").read_text().splitlines()]
    assert steps == [500, 1000, 1500][:at]  # with the row of the checkpoint that was not written
    assert main(["train", "--resume", "shelf://a/run"]) == 0
    files = lambda folder: sorted(path.name for path in folder.iterdir())
    assert files(there) == files(here)
    for name in ("metrics.jsonl", "config.json", "results.json", "fits.png", "learning_curve.png"):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    jax.tree.map(np.testing.assert_array_equal, runs.load("shelf://a/run").meta, runs.load(here).meta)


def test_commands_take_it(shelf, here, capsys):
    shutil.copytree(here, shelf / "run")
    again = ["--out", "shelf://other", "--log", "tensorboard", "--profile", "0:1", "--minutes", "0"]
    assert main(["train", "--again", "shelf://run", *again]) == 0
    assert main(["evaluate", "shelf://other", "--num-tasks", "8"]) == 0
    assert main(["compare", "shelf://run", "shelf://other", "--out", "shelf://curves.png"]) == 0
    assert list((shelf / "other" / "profile").rglob("*.xplane.pb"))
    assert (shelf / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len((shelf / "other" / "metrics.jsonl").read_text().splitlines()) == 1
    capsys.readouterr()
    assert main(["train", *SINE, "--out", "shelf://other"]) == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err


def test_a_classifier(shelf):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 3)), np.repeat(["ant", "bee", "cow"], 4)
    learner = jm.protonet(jm.from_linen(jm.backbones.MLP((4,), num_outputs=2)))
    fitted = FewShotClassifier(learner).fit(X, y)
    fitted.save("shelf://ants")
    fitted.export("shelf://ants.jax")
    loaded = FewShotClassifier.load("shelf://ants", learner=learner)
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    with pytest.raises(ValueError, match="'shelf://ants' exists, and nothing is overwritten"):
        fitted.save("shelf://ants")
    assert (shelf / "ants.jax").stat().st_size > 1000


def test_parameters_are_replaced_whole(shelf, monkeypatch):
    a, b = (Variables({"w": np.full(3, value)}) for value in (1.0, 2.0))
    read = lambda: checkpoint.restore("shelf://params", a).params["w"].tolist()
    with monkeypatch.context() as patch, pytest.raises(Killed):  # before what makes it a checkpoint
        kill(patch, Shelf, "write_bytes", 1)
        checkpoint.save("shelf://params", a)
    with pytest.raises(ValueError, match="is not a checkpoint of jaxmeta"):
        read()
    checkpoint.save("shelf://params", a)
    assert read() == [1.0] * 3
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill(patch, Shelf, "write_bytes", 1)
        checkpoint.save("shelf://params", b)
    assert read() == [1.0] * 3
    (shelf / "params" / "notes.txt").write_text("of the user's own")
    checkpoint.save("shelf://params", b)
    assert read() == [2.0] * 3
    arrays = json.loads((shelf / "params" / "checkpoint.json").read_text())["arrays"]
    assert sorted(path.name for path in (shelf / "params").iterdir()) == [arrays, "checkpoint.json", "notes.txt"]
    (shelf / "mine" / "notes").mkdir(parents=True)
    with pytest.raises(ValueError, match="exists and is not a checkpoint; it is left as it is"):
        checkpoint.save("shelf://mine", a)
    (shelf / "params" / "checkpoint.json").write_text('{"format": 1, "arrays": "../mine"}')
    with pytest.raises(ValueError, match="names '../mine' as its arrays"):
        read()


def test_what_cannot_be_written(shelf, monkeypatch, capsys):
    monkeypatch.setitem(storage.SCHEMES, "gs", "no_such_package")
    for args in (["train", *SINE, "--out", "gs://bucket/run"], ["evaluate", "gs://bucket/run"]):
        assert main(args) == 2
        assert "needs a package that is not installed: pip install 'jaxmeta[remote]'" in capsys.readouterr().err
    with pytest.raises(ImportError, match="jaxmeta.remote."):
        jm.runs.load("gs://bucket/run")
    assert main(["train", *SINE, "--out", "s3://bucket/run"]) == 2
    assert "s3:// is not supported. Name a folder of this machine, or one under gs://" in capsys.readouterr().err
    assert main(["reproduce", "sinusoid", "--out", "shelf://table"]) == 2
    assert "are copied from one another, and not in" in capsys.readouterr().err
    assert main(["train", "--resume", "shelf://nothing"]) == 2
    assert "is not a run folder: it has no config.json" in capsys.readouterr().err

    def refuse(*args):
        raise RuntimeError("Anonymous caller does not have storage.objects.create access")

    monkeypatch.setattr(Shelf, "write_bytes", refuse)
    assert main(["train", *SINE, "--out", "shelf://run"]) == 2
    assert "could not be written (Anonymous caller does not have" in capsys.readouterr().err
