"""Logs: what a callback hands to TensorBoard and Weights & Biases is what training said."""

import json
import math
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta.cli import main

LEARNER = jm.maml(jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse, num_steps=1)
TINY = ["quadratics", "--rule", "schedule", "--num-inner-steps", "3", "--num-dims", "2", "--test-tasks", "8"]


def train(*logs, num_steps=6):
    import jax

    sampler, optimizer = jm.tasks.sinusoid(), optax.adam(1e-3)
    state = jm.init(LEARNER, sampler, optimizer, key=jax.random.key(0))
    options = {"tasks_per_step": 2, "log_every": 3, "eval_sampler": sampler, "eval_every": 3, "eval_tasks": 4}
    return jm.fit(LEARNER, sampler, optimizer, state, num_steps=num_steps, callbacks=logs, **options)[1]


def events(folder):
    """Every scalar of the event files, ``{name: [(step, value)]}``, read by an independent reader of the format."""
    pytest.importorskip("tensorboard", reason="TensorBoard itself is not installed to read the file back")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX", reason="the extra jaxmeta[tensorboard] is not installed")
    with jm.callbacks.tensorboard(tmp_path) as log:
        history = train(log)
    assert list(tmp_path.glob("events.out.tfevents.*"))
    found = events(tmp_path)
    assert {"loss", "eval/mse", "eval/mse/ci95", "tasks_per_second"} <= set(found)
    assert [step for step, _ in found["loss"]] == [3, 6]
    expected = history["loss"].reshape(2, 3).mean(1)
    np.testing.assert_allclose([value for _, value in found["loss"]], expected, rtol=1e-6)
    np.testing.assert_allclose([value for _, value in found["eval/mse"]], history["eval/mse"], rtol=1e-6)


def test_a_logger_works_without_with(tmp_path):
    pytest.importorskip("tensorboardX", reason="the extra jaxmeta[tensorboard] is not installed")
    log = jm.callbacks.tensorboard(tmp_path)
    assert list(tmp_path.iterdir()) == [] and log(jm.Progress(7, None, 9, {"loss": 2.0}, None, 5.0)) is None
    with log:
        log(jm.Progress(8, None, 9, {"loss": 3.0}, None, 5.0))
    assert events(tmp_path)["loss"] == [(7, 2.0), (8, 3.0)]


def test_tensorboard_follows_training(tmp_path):
    """One looks at a run while it trains, and a run that is killed has logged what it said."""
    pytest.importorskip("tensorboardX", reason="the extra jaxmeta[tensorboard] is not installed")
    with jm.callbacks.tensorboard(tmp_path, first_step=5) as log:
        log(jm.Progress(7, None, 9, {"loss": np.array([1.0, 2.0])}, None, 5.0))
        limit = time.monotonic() + 60
        while "loss" not in (found := events(tmp_path)) and time.monotonic() < limit:
            time.sleep(0.2)
        assert found["loss"] == [(7, 1.5)]  # of two seeds the mean


def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra jaxmeta[wandb] is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with jm.callbacks.wandb(mode="offline", dir=str(tmp_path), config={"lr": 3}) as log:
        train(log)
        import wandb  # pyright: ignore[reportMissingImports]

        summary = {name: wandb.run.summary[name] for name in ("loss", "eval/mse", "_step")}
    assert summary["_step"] == 6 and np.isfinite([summary["loss"], summary["eval/mse"]]).all()
    assert list(tmp_path.rglob("run-*.wandb"))


@pytest.mark.parametrize("log, package", [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_names_the_extra(log, package, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    opened = jm.callbacks.tensorboard("x") if log == "tensorboard" else jm.callbacks.wandb()
    with pytest.raises(ImportError, match=rf"pip install 'jaxmeta\[{log}\]'"):
        opened.__enter__()
    assert main(["train", *TINY, "--log", log]) == 2
    assert f"jaxmeta[{log}]" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_train_logs_beside_its_own_rows(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX", reason="the extra jaxmeta[tensorboard] is not installed")
    monkeypatch.setenv("JAXMETA_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    assert main(["train", *TINY, "--num-steps", "100", "--log", "tensorboard", "--out", str(run)]) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = events(run / "tensorboard")
    assert found["loss"] == [(row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in rows] and len(rows) == 2


def test_importing_loads_no_log():
    code = "import sys, jaxmeta; print([m for m in ('tensorboardX', 'wandb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments, text", [({"mode": "maximum"}, "`mode` is 'maximum'"), ({"patience": 0}, "`patience` must be a whole")]
)
def test_early_stopping_refuses_what_it_would_misread(arguments, text):
    with pytest.raises(ValueError, match=text):
        jm.EarlyStopping("accuracy", **arguments)


def test_a_validation_of_nan_is_never_the_best():
    stopping = jm.EarlyStopping("accuracy", patience=2)
    for step, value in enumerate([math.nan, 0.5, math.nan, 0.4], 1):
        estimates = {"accuracy": jm.Estimate(value, 0.0, 4, False)}
        ended = stopping(jm.Progress(step, SimpleNamespace(meta=step), 9, {}, estimates, 1.0))
    assert (stopping.best, stopping.best_step, int(stopping.best_meta), ended) == (0.5, 2, 2, True)
