"""One device, several, and several processes: the same tasks, and the same parameters to rounding."""

import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxmeta import parallel

WORKER = Path(__file__).parent / "spread_worker.py"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


OMNIGLOT = Path(__file__).parents[2] / "shared" / "data" / "omniglot"
needs_omniglot = pytest.mark.skipif(not OMNIGLOT.is_dir(), reason=f"needs the official Omniglot zips in {OMNIGLOT}")


@cache
def ran(devices: int = 1, processes: int = 1, *flags: str) -> list[dict]:
    """What each process of a run saved."""
    folder, port = Path(mkdtemp()), str(free_port())
    common = [sys.executable, str(WORKER), "--devices", str(devices), "--processes", str(processes), "--port", port]
    common += ["--data-dir", str(OMNIGLOT)]
    commands = [[*common, "--id", str(i), *flags, str(folder / f"{i}.npz")] for i in range(processes)]
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for c in commands]
    said = [p.communicate(timeout=400)[0] for p in running]
    assert [p.returncode for p in running] == [0] * processes, "\n".join(said)[-3000:]
    return [dict(np.load(folder / f"{i}.npz")) for i in range(processes)]


def params(run: dict) -> np.ndarray:
    return np.concatenate([run[name].ravel() for name in sorted(run) if name.startswith("params/")])


WAYS = (4, 1, "--fsdp"), (4, 1, "--fsdp-over=2"), (2, 2), (2, 2, "--fsdp"), (2, 2, "--fsdp-over=2")


@needs_omniglot
def test_two_processes_draw_the_tasks_of_one_device_and_take_its_steps():
    (alone,), runs = ran(1, 1, "--steps=3"), ran(2, 2, "--fsdp", "--steps=3")
    check_tasks(runs, alone)
    for run in runs:
        np.testing.assert_allclose(params(run), params(alone), rtol=0, atol=1e-11)


@needs_omniglot
@pytest.mark.slow
@pytest.mark.parametrize("spread", [(4,), *WAYS], ids=str)
def test_200_steps_in_float64_are_those_of_one_device(spread):
    (alone,), runs = ran(), ran(*spread)
    for run in runs:
        np.testing.assert_allclose(params(run), params(alone), rtol=0, atol=1e-9)
        np.testing.assert_allclose(run["loss"], alone["loss"], rtol=0, atol=1e-9)
        assert run["accuracy"] == alone["accuracy"]
        found = {axis for axis in ("task", "fsdp") if any(axis in spec for spec in run["spread"])}
        assert found == ({"task"} if "--fsdp" in spread else {"fsdp"} if "--fsdp-over=2" in spread else set())


@needs_omniglot
@pytest.mark.slow
@pytest.mark.parametrize("spread", [(4, 1), (4, 1, "--fsdp-over=2")], ids=str)
def test_the_tasks_are_the_very_same(spread):
    (alone,), runs = ran(1, 1, "--steps=1"), ran(*spread, "--steps=1")
    check_tasks(runs, alone)


def check_tasks(runs: list[dict], alone: dict) -> None:
    for name in [name for name in alone if name.startswith("tasks/")]:
        np.testing.assert_array_equal(np.concatenate([run[name] for run in runs]), alone[name])


@needs_omniglot
@pytest.mark.slow
def test_one_float32_step_agrees():
    (alone,), (spread, _) = ran(1, 1, "--float32", "--steps", "1"), ran(2, 2, "--float32", "--steps", "1")
    np.testing.assert_allclose(spread["loss"], alone["loss"], rtol=1e-5)
    np.testing.assert_allclose(params(spread), params(alone), rtol=0, atol=1e-5)


def test_a_rule_shards_what_is_large_and_divides():
    rule = parallel.fsdp("kernel", min_size=10)
    tree = {"kernel": np.zeros((3, 8)), "odd/kernel": np.zeros((3, 5)), "bias": np.zeros(64), "key": jax.random.key(0)}
    found = parallel.specs(tree, parallel.make_mesh(2), rule)
    assert found == {"kernel": P(None, "task"), "odd/kernel": P(), "bias": P(), "key": P()}
    assert parallel.specs(tree, parallel.make_mesh(2, fsdp=2), rule)["kernel"] == P(None, "fsdp")


@pytest.mark.parametrize("fsdp", [1, 2])
@pytest.mark.parametrize("spec", [P(), P("task"), P(None, "fsdp"), P("task", "fsdp"), P(("task", "fsdp"))], ids=str)
def test_shards_are_those_of_the_mean(spec, fsdp):
    mesh, whole = parallel.make_mesh(2, fsdp=fsdp), np.arange(16.0).reshape(4, 4)

    def local(shard, factor):
        return parallel.mean_and_scatter(parallel.gather(shard, spec) * factor[0], spec, parallel.task_axes(mesh))

    found = parallel.over_tasks(local, mesh, spec, spec)(whole, np.array([1.0, 3.0]))
    np.testing.assert_array_equal(found, 2 * whole)


def test_mistakes_are_said_before_anything_starts():
    with pytest.raises(ValueError, match="`num_devices` must be 1 to 2, the devices there are, got 3. On a CPU"):
        parallel.make_mesh(3)
    with pytest.raises(ValueError, match="`fsdp` must divide the 2 devices into groups, got 3"):
        parallel.make_mesh(fsdp=3)
    with pytest.raises(ValueError, match="belong together"):
        parallel.start("127.0.0.1:1", 2)
    with pytest.raises(ValueError, match="`process_id` must be 0 to 1, got 2"):
        parallel.start("127.0.0.1:1", 2, 2)
