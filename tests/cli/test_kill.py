"""Runs that are killed at any moment and resumed end as if nothing had happened: one process, and two."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import jax
import numpy as np
import pytest

from jaxmeta import runs

FLAGS = ["sinusoid_maml", "--hidden", "8", "--num-steps", "6000", "--tasks-per-step", "4", "--test-tasks", "32"]
FLAGS += ["--num-test-steps", "1", "--checkpoint-every", "500"]
CACHE = mkdtemp()


def start(processes: int, *flags: str) -> list[subprocess.Popen]:
    """The processes of a run, each with a device of its own."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    several = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", str(processes)] if processes > 1 else []
    which = lambda i: ["--process-id", str(i)] if processes > 1 else []
    environment = os.environ | {"JAXMETA_CACHE": CACHE, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, "-m", "jaxmeta", "train", *flags, *several]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment}
    return [subprocess.Popen([*command, *which(i)], **options) for i in range(processes)]


def finish(running: list[subprocess.Popen], code: int = 0) -> str:
    said = [process.communicate(timeout=400)[0] for process in running]
    assert [process.returncode for process in running] == [code] * len(running), "\n".join(said)[-3000:]
    return said[0]


def wait_for(path: Path, running: list[subprocess.Popen]) -> None:
    limit = time.monotonic() + 300
    while not path.exists():
        assert all(process.poll() is None for process in running) and time.monotonic() < limit
        time.sleep(0.02)


@cache
def whole(processes: int) -> Path:
    """A run that nobody disturbed."""
    folder = Path(mkdtemp()) / "run"
    finish(start(processes, *FLAGS, "--out", str(folder)))
    return folder


def arrays(folder: Path) -> list[np.ndarray]:
    return jax.tree.leaves(runs.load(folder).meta)


@pytest.mark.parametrize("processes, seed", [
    *[pytest.param(1, s, marks=pytest.mark.slow) for s in range(12)],  # `runs/test_dying.py` has a quick one
    *[pytest.param(2, s, marks=pytest.mark.slow) for s in range(8)],  # minutes on two busy cores
])  # fmt: skip
def test_killed_and_resumed(tmp_path, processes, seed):
    expected, rng, run = whole(processes), random.Random(seed), tmp_path / "run"
    running = start(processes, *FLAGS, "--out", str(run))
    for _ in range(2):  # once from the start, once after resuming: steps take a millisecond, saves some ten
        wait_for(run / "metrics.jsonl", running)
        time.sleep(rng.uniform(0.0, 2.0))
        for process in running:
            process.kill()
        for process in running:
            process.communicate()
        if (run / "results.json").exists():
            break
        running = start(processes, "--resume", str(run))
    if not (run / "results.json").exists():
        finish(running)
    assert (run / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()
    for ours, theirs in zip(arrays(run), arrays(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_sigterm_saves_at_once_and_for_all(tmp_path):
    running = start(2, *FLAGS, "--num-steps", "1000000", "--out", str(tmp_path / "run"))
    wait_for(tmp_path / "run" / "metrics.jsonl", running)
    running[1].send_signal(signal.SIGTERM)
    assert "interrupted at step" in finish(running, 130)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other(tmp_path):
    run = tmp_path / "run"
    running = start(2, *FLAGS, "--out", str(run))
    wait_for(run / "metrics.jsonl", running)
    running[1].kill()
    begin = time.monotonic()
    said = running[0].communicate(timeout=90)[0]
    assert time.monotonic() - begin < 60 and running[0].returncode not in (0, None)  # 30 s without a sign of life
    ours, jaxs = "process 1 has ended or cannot be reached", r"[Tt]ask 1 heartbeat|stopped sending heartbeats\):\s+1"
    assert re.search(f"{ours}|{jaxs}", said), said[-2000:]
    running[1].communicate()
    finish(start(2, "--resume", str(run)))
    assert (run / "metrics.jsonl").read_bytes() == (whole(2) / "metrics.jsonl").read_bytes()
