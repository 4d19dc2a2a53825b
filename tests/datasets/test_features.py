"""A frozen model runs once: the vectors are those of a task, whatever the batch and the padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta.datasets import features


def test_rows_are_the_models_outputs_for_them_in_every_batch_size():
    images = np.random.default_rng(0).integers(0, 255, (7, 4, 4, 1)).astype(np.uint8)
    data = jm.datasets.from_arrays(images, [2, 0, 0, 1, 1, 1, 2])
    model = jm.from_linen(jm.backbones.MLP((5,)))
    variables = model.init(jax.random.key(1), jnp.zeros((1, 4, 4, 1)))
    expected = model.apply(variables, jnp.asarray(data.x, jnp.float32) / 255)[0]
    for size in (1, 3, 64):
        found = features(data, model, size, variables=variables)
        np.testing.assert_allclose(found.x, expected, rtol=1e-6, atol=1e-6)
        assert (found.names, found.start.tolist()) == (data.names, data.start.tolist())
    np.testing.assert_array_equal(features(data, model, key=jax.random.key(1)).x.shape, (7, 5))


def test_texts_are_computed_without_common_padding_and_keep_their_rows():
    length = np.array([3, 20, 1, 8, 9], np.int32)
    ids = np.where(np.arange(32) < length[:, None], np.arange(160).reshape(5, 32), 0).astype(np.int32)
    data = jm.datasets.from_arrays({"ids": ids, "length": length}, np.zeros(5, int))
    widths = []

    def apply(variables, x):
        widths.append(x["ids"].shape[1])
        return {"sum": x["ids"].sum(1, dtype=jnp.float32), "length": x["length"]}

    found = features(data, jm.from_functions(lambda key, x: (), apply), 2)
    np.testing.assert_array_equal(found.x["sum"], ids.sum(1))
    np.testing.assert_array_equal(found.x["length"], length)
    assert sorted(set(widths)) == [8, 16, 24]


def test_what_is_wrong_is_named():
    data = jm.datasets.from_arrays(np.ones((3, 2), np.float32), [0, 1, 1])
    model = jm.from_functions(lambda key, x: (), lambda variables, x: x / 0)
    with pytest.raises(ValueError, match="`batch_size` must be a whole number from 1, got 0"):
        features(data, model, 0)
    with pytest.raises(TypeError, match="`model` must be a `jaxmeta.Model`, got MLP"):
        features(data, jm.backbones.MLP((2,)))
    with pytest.raises(ValueError, match="`model` returned NaN or infinity"):
        features(data, model)
