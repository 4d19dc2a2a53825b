"""Ctrl-C and SIGTERM, in a process of their own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

CALL = [sys.executable, "-m", "jaxmeta", "train", "sinusoid_maml", "--hidden", "4", "--num-steps", "100000000"]


def start(tmp_path):
    environment = os.environ | {"JAXMETA_CACHE": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}
    command = [*CALL, "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    limit = time.monotonic() + 100
    while not (tmp_path / "run" / "timing.jsonl").exists():
        assert process.poll() is None and time.monotonic() < limit, process.communicate(timeout=5)
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_keeps_what_was_reached(tmp_path, number):
    process = start(tmp_path)
    process.send_signal(number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "interrupted at step" in out and "stopping after" in err and "Traceback" not in err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["status"] == "interrupted" and results["rows"] == []
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["step"] == results["step"] > 0
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == set(
        "config.json params checkpoints metrics.jsonl timing.jsonl results.json learning_curve.png report.html".split()
    )


def test_the_second_signal_stops_at_once():
    code = (
        "import signal, time; from jaxmeta.cli._progress import _stop\n"
        "from jaxmeta.runs._signals import stop_on_signals\n"
        "with stop_on_signals(_stop) as stop:\n"
        "    signal.raise_signal(signal.SIGINT); stop.wait(9); print('set', stop.is_set(), flush=True)\n"
        "    try: signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt: time.sleep(30); print('late')  # the thread ends the process\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and done.stdout == "set True\n"


def test_handlers_are_put_back():
    from jaxmeta.runs._signals import stop_on_signals

    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop:
        assert not stop.is_set() and signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
