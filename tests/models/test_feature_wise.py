"""Feature-wise transformation: the noise's distribution, its key, and nothing of it in evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import jaxmeta as jm

KEYS = jax.random.split(jax.random.key(0), 20_000)


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.LayerNorm(name="norm")(x)


def test_scale_and_shift_are_normal_with_the_softplus_of_their_numbers():
    """Outputs gamma z + beta with z = -1, 0, 1 / sqrt(2 / 3): means z, variances (s_gamma z)^2 + s_beta^2."""
    model, x = (
        jm.feature_wise(jm.from_linen(Net()), ["norm"], scale_std=0.3, shift_std=-1.0),
        jnp.array([[1.0, 2.0, 3.0]]),
    )
    variables = model.init(jax.random.key(1), x)
    noisy = jax.jit(jax.vmap(lambda key: model.apply(variables, x, train=True, key=key)[0][0]))(KEYS)
    z = np.array([-1, 0, 1]) * np.sqrt(1.5)
    variance = np.log1p(np.exp(0.3)) ** 2 * z**2 + np.log1p(np.exp(-1.0)) ** 2
    np.testing.assert_allclose(noisy.mean(0), z, atol=4 * np.sqrt(variance.max() / len(KEYS)))
    np.testing.assert_allclose(noisy.var(0), variance, rtol=0.05)
    assert abs(np.corrcoef(noisy.T)[0, 2]) < 0.03  # channels have numbers of their own
    for options in ({"train": False, "key": KEYS[0]}, {"train": True}):
        np.testing.assert_allclose(model.apply(variables, x, **options)[0][0], z, rtol=1e-5)


def test_the_support_pass_and_bad_layers():
    model = jm.from_linen(jm.backbones.Conv4(features=2), norm="running")
    tasks = jm.tasks.glyphs(num_ways=2, num_shots=1, num_queries=1, size=16)
    learner = jm.protonet(jm.feature_wise(model, ["norm3"]))
    task = tasks(jax.random.key(0))
    meta = learner.init(jax.random.key(1), task)
    plain = jm.protonet(model).loss(meta, task, None)[0]
    loss = jax.jit(lambda key: learner.loss(meta, task, key)[0])
    first = loss(KEYS[0])
    assert first == loss(KEYS[0]) != loss(KEYS[1]) and first != plain
    assert learner.loss(meta, task, None)[0] == plain
    with pytest.raises(ValueError, match=r"`layers` has \['norm9'\], .* There are \['norm0', 'norm1'"):
        jm.protonet(jm.feature_wise(model, ["norm9"])).loss(meta, task, KEYS[0])
    with pytest.raises(ValueError, match="`layers` names no layer"):
        jm.feature_wise(model, [])
