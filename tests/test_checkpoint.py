"""Checkpoints: what comes back, and what is said when it cannot."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta import Variables, checkpoint


@pytest.fixture
def meta():
    params = {"conv": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "half": jnp.ones(2, jnp.bfloat16)}
    return Variables(params, {"batch_stats": {"count": jnp.int32(7)}})


def test_round_trip_keeps_values_types_and_structure(tmp_path, meta):
    checkpoint.save(tmp_path / "params", meta)
    found = checkpoint.restore(tmp_path / "params", meta)
    assert found.state["batch_stats"]["count"] == 7 and found.params["half"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.params["conv"]["kernel"], meta.params["conv"]["kernel"])
    assert [p.name for p in tmp_path.iterdir()] == ["params"]  # no temporary left


def test_saving_again_replaces(tmp_path, meta):
    checkpoint.save(tmp_path / "params", meta)
    checkpoint.save(tmp_path / "params", Variables({"w": jnp.ones(2)}))
    assert checkpoint.restore(tmp_path / "params", Variables({"w": jnp.zeros(2)})).params["w"].sum() == 2


def test_another_folder_is_left_alone(tmp_path, meta):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not a checkpoint; it is left"):
        checkpoint.save(tmp_path, meta)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_another_model_names_the_leaves(tmp_path, meta):
    checkpoint.save(tmp_path / "params", meta)
    like = Variables({"conv": {"kernel": jnp.zeros((2, 4))}, "head": jnp.ones(1)}, meta.state)
    with pytest.raises(ValueError) as error:
        checkpoint.restore(tmp_path / "params", like)
    for text in (
        "missing: params/head",
        "unexpected: params/half",
        "params/conv/kernel: float32[2, 3] instead of float32[2, 4]",
    ):
        assert text in str(error.value)


def test_nothing_there(tmp_path, meta):
    with pytest.raises(ValueError, match="there is no checkpoint at"):
        checkpoint.restore(tmp_path / "nowhere", meta)
    with pytest.raises(ValueError, match="is not a checkpoint of jaxmeta"):
        checkpoint.restore(tmp_path, meta)


@pytest.mark.parametrize("about, message", [({"format": 99}, "format 99; this version"), ([], "missing or damaged")])
def test_format(tmp_path, meta, about, message):
    checkpoint.save(tmp_path / "params", meta)
    (tmp_path / "params" / "checkpoint.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=message):
        checkpoint.restore(tmp_path / "params", meta)


def test_damaged_arrays(tmp_path, meta):
    checkpoint.save(tmp_path / "params", meta)
    for file in (tmp_path / "params" / "arrays").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(ValueError, match="damaged or cut short"):
        checkpoint.restore(tmp_path / "params", meta)


def test_nothing_to_save(tmp_path):
    with pytest.raises(ValueError, match="no arrays"):
        checkpoint.save(tmp_path / "params", Variables({}))
