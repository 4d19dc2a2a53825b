"""A run that is killed just before any change of any file is completed by resuming it, as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import jax
import numpy as np
import pytest
from runs.tiny import experiment

from jaxmeta import runs

TESTS = Path(__file__).resolve().parents[1]


def worker(folder: Path, change: int) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "runs.dying_worker", str(folder), str(change)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    return subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, timeout=300)


@cache
def whole() -> tuple[Path, int]:
    """A run that nobody disturbed, and how often it changed a file."""
    folder = Path(mkdtemp()) / "run"
    done = worker(folder, 0)
    status, count = done.stdout.split()
    assert (status, done.returncode) == ("finished", 0), done.stderr
    return folder, int(count)


def rows(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "second" not in k} for line in lines]


def names(folder: Path) -> set[str]:
    """All files, but for those of arrays: their names are random, and of older checkpoints some are gone."""
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(n) for n in inside if n.parts[0] != "checkpoints" and not any(p.startswith("arrays") for p in n.parts)}


@pytest.mark.parametrize(
    "seed", [pytest.param(s, marks=[] if s == 0 else pytest.mark.slow) for s in range(24)]
)  # the last eight die among the last fifteen changes
def test_killed_before_a_change_of_a_file(tmp_path, seed):
    expected, count = whole()
    rng, folder = random.Random(seed), tmp_path / "run"
    change = rng.randint(1, count) if seed < 16 else rng.randint(count - 15, count)
    assert worker(folder, change).returncode == -signal.SIGKILL
    if not (folder / "config.json").exists():  # it died before there was a run
        runs.train(experiment(), folder, checkpoint_every=2)
    else:
        try:
            assert runs.resume(folder, experiment()).status == "finished"
        except ValueError as error:  # it died after its end
            assert "has finished" in str(error)
    assert names(folder) == names(expected), change
    assert rows(folder) == rows(expected), change
    params = [runs.load(f, learner=experiment().learner).meta.params for f in (folder, expected)]
    jax.tree.map(np.testing.assert_array_equal, *params)
    results = [json.loads((f / "results.json").read_text()) for f in (folder, expected)]
    assert results[0]["rows"] == results[1]["rows"], change
