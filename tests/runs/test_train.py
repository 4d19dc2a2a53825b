"""`jaxmeta.runs.train` and `resume` as a library: events, results, ends of every kind."""

import json
import math

import jax
import numpy as np
import pytest
from runs.tiny import experiment

from jaxmeta import runs
from jaxmeta.runs import Drawing, Measured, Measuring, Starting, Wrote


class Killed(BaseException):
    """In place of a kill: nothing in the engine catches it."""


def kinds(events):
    return [type(event).__name__ for event in events]


def test_train_reports_returns_and_prints_nothing(tmp_path, capfd):
    events = []
    result = runs.train(experiment(), tmp_path / "run", progress=events.append)
    assert (result.status, result.step, result.folder) == ("finished", 6, tmp_path / "run")
    assert result.measurements[0].name == "after adaptation" and math.isfinite(result.measurements[0].mean)
    order = [Starting, runs.Event.__args__[1], Measuring, Measured, Drawing, Wrote]
    first = [next(i for i, event in enumerate(events) if isinstance(event, kind)) for kind in order]
    assert first == sorted(first) and kinds(events).count("Progress") == 3
    drawn = [(event.number, event.count) for event in events if isinstance(event, Drawing)]
    assert drawn == [(i, len(drawn)) for i in range(1, len(drawn) + 1)]
    assert capfd.readouterr() == ("", "")
    saved = json.loads((tmp_path / "run" / "results.json").read_text())
    assert saved["status"] == "finished" and saved["rows"][0]["mean"] == pytest.approx(result.measurements[0].mean)
    assert repr(result).startswith("Result(status='finished', step=6")


def test_a_run_of_ones_own_needs_its_experiment(tmp_path):
    runs.train(experiment(num_steps=2), tmp_path / "run")
    with pytest.raises(ValueError, match="learner of your own"):
        runs.resume(tmp_path / "run")
    with pytest.raises(ValueError, match="has finished"):
        runs.resume(tmp_path / "run", experiment(num_steps=2))
    with pytest.raises(ValueError, match="is not an empty folder, and nothing is overwritten"):
        runs.train(experiment(num_steps=2), tmp_path / "run")


@pytest.mark.parametrize("kind", [Measuring, Drawing, Wrote])
def test_a_run_that_was_killed_in_its_last_seconds_is_finished(kind, tmp_path):
    """The mark of completion is written last."""

    def kill(event):
        if isinstance(event, kind):
            raise Killed

    folder = tmp_path / "run"
    with pytest.raises(Killed):
        runs.train(experiment(), folder, progress=kill)
    if kind is not Wrote:  # after which there is nothing left to do
        assert not (folder / "report.html").exists()
        result = runs.resume(folder, experiment())
        assert (result.status, result.step) == ("finished", 6)
    assert json.loads((folder / "results.json").read_text())["status"] == "finished"
    assert (folder / "report.html").is_file() and not (folder / ".owner.json").exists()


def test_resumed_equals_whole(tmp_path):
    whole = runs.train(experiment(), tmp_path / "whole", checkpoint_every=2)

    def kill(event):
        if getattr(event, "step", 0) == 4 and not isinstance(event, Starting):
            raise Killed

    with pytest.raises(Killed):
        runs.train(experiment(), tmp_path / "cut", checkpoint_every=2, progress=kill)
    resumed = runs.resume(tmp_path / "cut", experiment())
    np.testing.assert_array_equal(resumed.meta.params["w"], whole.meta.params["w"])
    for name in ("metrics.jsonl", "results.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    def kill(event):
        if getattr(event, "step", 0) == 6 and not isinstance(event, Starting):
            raise Killed

    with pytest.raises(Killed):
        runs.train(experiment(), tmp_path / "run", checkpoint_every=2, progress=kill)
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    for file in [path for path in newest.rglob("*") if path.is_file()]:
        file.write_bytes(b"x")
    events = []
    result = runs.resume(tmp_path / "run", experiment(), progress=events.append)
    assert result.status == "finished" and 0 < events[0].step < int(newest.name)
    assert "is damaged or cut short" in caplog.text and "Continuing from the whole one of step" in caplog.text
    whole = runs.train(experiment(), tmp_path / "whole", checkpoint_every=2)
    np.testing.assert_array_equal(result.meta.params["w"], whole.meta.params["w"])


@pytest.mark.parametrize("scale", [math.nan, 1e30])
def test_a_run_without_one_finite_update_has_diverged(scale, tmp_path):
    """Six are too few for the 50 in a row after which `fit` gives up early."""
    result = runs.train(experiment(scale), tmp_path / "run")
    assert result.status == "diverged" and result.measurements == []
    assert "All 6 updates, up to step 6, were left out" in result.message
    assert json.loads((tmp_path / "run" / "results.json").read_text())["status"] == "diverged"


def test_predictions_that_are_no_numbers_are_a_divergence(tmp_path):
    """Training is fine; what is measured is not."""
    e = experiment()
    broken = e.learner._replace(predict=lambda meta, adapted, x, key=None: x * np.nan)
    result = runs.train(e._replace(learner=broken), tmp_path / "run")
    assert result.status == "diverged" and "mse on held-out tasks, after adaptation, is not a number" in result.message
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert rows[0]["mean"] is None


@pytest.mark.parametrize(
    "changes, arguments, message",
    [
        ({"test_tasks": 0}, {}, "`test_tasks` must be at least 1, got 0"),
        ({"test_steps": (-1,)}, {}, "`test_steps` must be at least 0"),
        ({}, {"checkpoint_every": 0}, "`checkpoint_every` must be at least 1"),
        ({}, {"minutes": math.nan}, "`minutes` must be at least 0, got nan"),
        ({}, {"seed": -1}, "`seed` must be at least 0"),
        ({}, {"compute": runs.Compute(clip_norm=-1.0)}, "`clip_norm` must be more than 0, got -1.0"),
        ({}, {"compute": runs.Compute(clip_norm=math.nan)}, "`clip_norm` must be more than 0, got nan"),
        ({}, {"compute": runs.Compute(accumulate=7)}, "`accumulate` is 7, but training has only 6 steps"),
        ({}, {"compute": runs.Compute(chunk=0)}, "`chunk` must be at least 1"),
        ({}, {"compute": runs.Compute(profile="9")}, "`profile` must be like 100:105"),
    ],
)
def test_numbers_are_refused_before_anything_is_made(changes, arguments, message, tmp_path):
    with pytest.raises(ValueError) as error:
        runs.train(experiment(**changes), tmp_path / "run", **arguments)
    assert message in str(error.value) and list(tmp_path.iterdir()) == []


def test_measure_alone():
    e = experiment()
    meta = e.learner.init(jax.random.key(0), e.train(jax.random.key(0)))
    rows = runs.measure(e, meta, num_tasks=3)
    assert [(row.name, row.metric, row.num_tasks) for row in rows] == [("after adaptation", "mse", 3)]
