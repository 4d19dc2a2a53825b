"""The state of training on disk: what comes back, what is kept, and what is said when it cannot be read."""

import json
import logging
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import checkpoint, parallel

SAMPLER, ADAM = jm.tasks.sinusoid(), optax.adam(1e-3)
MODEL = jm.from_linen(jm.backbones.MLP((8,), num_outputs=1))
LEARNER = jm.maml(MODEL, jm.losses.mse, num_steps=1)
STATE = jm.init(LEARNER, SAMPLER, ADAM, key=jax.random.key(3))


def fit(state, num_steps, **options):
    options = {"tasks_per_step": 4, "log_every": 5, **options}
    return jm.fit(LEARNER, SAMPLER, ADAM, state, num_steps=num_steps, **options)


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("step", [5, 20])
def test_a_run_goes_on_bit_for_bit_from_any_checkpoint(tmp_path, step):
    keeper = checkpoint.keep(tmp_path, every=5, max_to_keep=10)
    whole, history = fit(STATE, 30, callbacks=[keeper])
    keeper.close()
    for later in range(step + 5, 35, 5):  # as if the run had been killed there
        shutil.rmtree(tmp_path / str(later))
    again = checkpoint.keep(tmp_path, every=100)
    assert again.steps() == list(range(5, step + 5, 5))
    end, rest = fit(again.restore(STATE), 30, callbacks=[again])
    again.close()
    assert_equal(end, whole)
    np.testing.assert_array_equal(rest["loss"], history["loss"][step:])


def test_the_newest_and_the_best_are_kept(tmp_path):
    keeper = checkpoint.keep(tmp_path, every=5, max_to_keep=1, best="mse", mode="min")
    scores = iter([3.0, 1.0, 2.0, 4.0])

    def scored(progress):
        keeper(progress._replace(estimates={"mse": jm.Estimate(next(scores), 0.1, 4, False)}))

    fit(STATE, 20, callbacks=[scored])
    keeper.close()
    again = checkpoint.keep(tmp_path, best="mse", mode="min")
    assert again.steps() == [10, 20] and again.best_step() == 10


def test_nothing_there_is_none(tmp_path):
    assert checkpoint.keep(tmp_path).restore(STATE) is None


@pytest.mark.heavy
@pytest.mark.parametrize("saved, read", [((2,), None), (None, (2,)), ((2,), (1,)), ((2, 2), (2,)), ((1,), (2, 2))])
def test_another_topology(tmp_path, saved, read):
    mesh = lambda size: size and parallel.make_mesh(size[0], fsdp=size[1] if size[1:] else None)
    rule = parallel.fsdp(min_size=4)
    keeper = checkpoint.keep(tmp_path)
    state, _ = fit(STATE, 5, mesh=mesh(saved), shard=rule)
    keeper.save(state)
    keeper.close()
    found = checkpoint.keep(tmp_path).restore(STATE, mesh=mesh(read), shard=rule)
    assert_equal(found, state)
    fit(found, 10, mesh=mesh(read), shard=rule)


def test_what_a_killed_run_left_half_written_is_left_aside(tmp_path, caplog):
    keeper = checkpoint.keep(tmp_path)
    keeper.save(fit(STATE, 5)[0])
    keeper.close()
    (tmp_path / "10.orbax-checkpoint-tmp").mkdir()
    with caplog.at_level(logging.WARNING, "jaxmeta"):
        assert int(checkpoint.keep(tmp_path).restore(STATE).step) == 5
    assert "not finished when a run was killed: 10.orbax-checkpoint-tmp" in caplog.text


def test_another_learner_names_the_leaves(tmp_path):
    keeper = checkpoint.keep(tmp_path)
    keeper.save(fit(STATE, 5)[0])
    keeper.close()
    with pytest.raises(ValueError, match="unexpected: opt_state/0/mu/"):
        checkpoint.keep(tmp_path).restore(jm.init(LEARNER, SAMPLER, optax.sgd(0.1), key=jax.random.key(0)))


def test_a_damaged_checkpoint_and_an_unknown_format(tmp_path):
    keeper = checkpoint.keep(tmp_path)
    keeper.save(fit(STATE, 5)[0])
    keeper.close()
    (metadata,) = (tmp_path / "5").glob("_CHECKPOINT_METADATA")
    about = json.loads(metadata.read_text())
    about["custom_metadata"]["format"] = 99
    metadata.write_text(json.dumps(about))
    with pytest.raises(ValueError, match="format 99; this version of jaxmeta reads format 1"):
        checkpoint.keep(tmp_path).restore(STATE)
    about["custom_metadata"]["format"] = 1
    metadata.write_text(json.dumps(about))
    for path in (tmp_path / "5").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(ValueError, match="is damaged or cut short"):
        checkpoint.keep(tmp_path).restore(STATE)


FULL_DISK = """
import sys, jax, optax, jaxmeta as jm
from jaxmeta import checkpoint
model = jm.from_linen(jm.backbones.MLP((128, 128), num_outputs=1))
sampler, optimizer, learner = jm.tasks.sinusoid(), optax.adam(1e-3), jm.maml(model, jm.losses.mse)
start = jm.init(learner, sampler, optimizer, key=jax.random.key(0))
keeper = checkpoint.keep(sys.argv[1], every=1, max_to_keep=99)
try:
    options = {"num_steps": 40, "tasks_per_step": 1, "log_every": 1, "callbacks": [keeper]}
    jm.fit(learner, sampler, optimizer, start, **options)
    keeper.close()
except OSError as error:
    print(error)
print("goes on from", int(checkpoint.keep(sys.argv[1]).restore(start).step), "of", keeper.steps()[-1])
"""


def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(tmp_path):
    if subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("needs to mount a small tmpfs, which takes root in a name space of its own")
    script = f'mount -t tmpfs -o size=2m tmpfs {tmp_path} && {sys.executable} -c "$1" {tmp_path}/kept'
    done = subprocess.run(["unshare", "-m", "bash", "-c", script, "", FULL_DISK], capture_output=True, text=True)
    said = re.search(
        r"could not be written into .* \(No space left on device\); that of step (\d+) is whole", done.stdout
    )
    assert said is not None, done.stdout + done.stderr[-2000:]
    assert f"goes on from {said[1]} of {said[1]}" in done.stdout


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="`every` must be at least 1, got 0"):
        checkpoint.keep(tmp_path, every=0)
    with pytest.raises(ValueError, match="`mode` must be 'max' or 'min', got 'most'"):
        checkpoint.keep(tmp_path, mode="most")


def test_a_backbone_under_another_head(tmp_path):
    checkpoint.save(tmp_path / "params", STATE.meta)
    wide = jm.from_linen(jm.backbones.MLP((8,), num_outputs=3)).init(jax.random.key(0), np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="params/head/bias: float32.1. instead of float32.3."):
        checkpoint.restore(tmp_path / "params", wide)
    found = checkpoint.restore(tmp_path / "params", wide, only=lambda path: "head" not in path)
    assert_equal(found.params["dense0"], STATE.meta.params["dense0"])
    assert_equal(found.params["head"], wide.params["head"])
    with pytest.raises(ValueError, match="`only` chooses none of the leaves"):
        checkpoint.restore(tmp_path / "params", wide, only=lambda path: "trunk" in path)
