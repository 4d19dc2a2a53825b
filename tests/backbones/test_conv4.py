"""What four convolutions start from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta as jm

INITS = {"pool": "max", "kernel_init": "torch", "scale_init": "uniform"}
X = jnp.ones((2, 28, 28, 1))
MODELS = {
    "linen": lambda: jm.from_linen(jm.backbones.Conv4(**INITS)),
    "nnx": lambda: jm.from_nnx(lambda rngs: jm.backbones.NnxConv4((28, 28, 1), rngs=rngs, **INITS)),
}


@pytest.mark.parametrize("api", MODELS)
def test_initial_values_of_old_pytorch(api):
    params = MODELS[api]().init(jax.random.key(0), X).params
    for i, fan_in in enumerate([9, 576, 576, 576]):
        kernel, bound = np.asarray(params[f"conv{i}"]["kernel"]), fan_in**-0.5
        assert 0.95 * bound < abs(kernel).max() <= bound
        np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.1)
        scale = np.asarray(params[f"norm{i}"]["scale"])
        assert 0 <= scale.min() < 0.2 and 0.8 < scale.max() <= 1
    assert not np.array_equal(params["norm0"]["scale"], params["norm1"]["scale"])


def test_initial_values_by_default():
    params = jm.from_linen(jm.backbones.Conv4()).init(jax.random.key(0), X).params
    np.testing.assert_array_equal(params["norm0"]["scale"], 1)
    assert abs(params["conv1"]["kernel"]).max() <= (6 / (576 + 576)) ** 0.5
