"""ResNet-12 and ResNet-18: an independent forward pass, and one function in linen and nnx."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxmeta as jm

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (4, 12, 10, 2))
WIDTHS = (4, 8)
NETS = {
    "resnet12 flat": (
        jm.backbones.ResNet12(3, WIDTHS, flatten=True),
        lambda rngs: jm.backbones.NnxResNet12((12, 10, 2), 3, widths=WIDTHS, flatten=True, rngs=rngs),
    ),
    "resnet18": (
        jm.backbones.ResNet18(3, WIDTHS),
        lambda rngs: jm.backbones.NnxResNet18((12, 10, 2), 3, widths=WIDTHS, rngs=rngs),
    ),
}


def conv(x, kernel, strides=1):
    """By the definition: sums over shifted, padded images."""
    size = kernel.shape[0]
    x = np.pad(x, [(0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)])
    rows, columns = (n - size + 1 for n in x.shape[1:3])
    shifts = ((i, j) for i in range(size) for j in range(size))
    y = sum(x[:, i : i + rows, j : j + columns] @ kernel[i, j] for i, j in shifts)
    return y[:, ::strides, ::strides]


def norm(x, p):
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5) * p["scale"] + p["bias"]


def pool(x, size, padding=0):
    """Maximum over windows of stride 2, fewer where they leave the image."""
    x = np.pad(x, [(0, 0), (padding,) * 2, (padding,) * 2, (0, 0)], constant_values=-np.inf)
    rows, columns = (range(0, n - size + 1, 2) for n in x.shape[1:3])
    return np.stack([np.stack([x[:, i : i + size, j : j + size].max((1, 2)) for j in columns], 1) for i in rows], 1)


def block(x, p, depth, slope, strides=1):
    leaky, y = lambda x: np.where(x > 0, x, slope * x), x
    for i in range(depth):
        y = norm(conv(leaky(y) if i else y, p[f"conv{i}"]["kernel"], 1 if i else strides), p[f"norm{i}"])
    x = norm(conv(x, p["shortcut"]["kernel"], strides), p["shortcut_norm"]) if "shortcut" in p else x
    return leaky(x + y)


def reference(name, p, x):
    if "12" in name:
        for i in range(len(WIDTHS)):
            x = pool(block(x, p[f"block{i}"], 3, 0.1), 2)
    else:
        x = np.maximum(norm(conv(x, p["stem"]["kernel"], 2), p["stem_norm"]), 0)
        x = pool(x, 3, padding=1)
        for i in range(2 * len(WIDTHS)):
            x = block(x, p[f"block{i}"], 2, 0.0, 2 if i == 2 else 1)
    x = x.reshape(len(x), -1) if "flat" in name else x.mean((1, 2))
    return x @ p["head"]["kernel"] + p["head"]["bias"]


@pytest.mark.heavy
@pytest.mark.parametrize("name", NETS)
def test_both_are_the_same_function_and_the_definition(name):
    """Outputs, new statistics and gradients of linen and nnx agree, and outputs with sums written out."""
    module, build = NETS[name]
    models = jm.from_linen(module, norm="running"), jm.from_nnx(build, norm="running")
    given = [model.init(KEY, X) for model in models]
    params = _shared(given[0].params, given[1].params)
    states = [given[0].state["batch_stats"], given[1].state]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])

    def result(model, params, state):
        def loss(params):
            outputs, new = model.apply(jm.Variables(params, state), X, train=True)
            return jnp.sum(jnp.sin(outputs)), (outputs, new.get("batch_stats", new))

        return jax.grad(loss, has_aux=True)(params)

    grads, (outputs, state) = jax.jit(partial(result, models[0]))(given[0].params, given[0].state)
    nnx_grads, (nnx_outputs, nnx_state) = jax.jit(partial(result, models[1]))(params, given[1].state)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(outputs, nnx_outputs)
    jax.tree.map(close, state, nnx_state)
    jax.tree.map(close, grads, _shared(nnx_grads, grads))
    np.testing.assert_allclose(outputs, reference(name, jax.tree.map(np.asarray, given[0].params), X), rtol=1e-3)


def _shared(values, like):
    """The leaves of `values` in the layout of `like`."""
    return {k: _shared(values[k], v) if isinstance(v, dict) else values[k] for k, v in like.items()}


def test_embeddings():
    shape = lambda net: jax.eval_shape(lambda x: net.init_with_output(KEY, x)[0], jnp.ones((2, 84, 84, 3))).shape
    assert shape(jm.backbones.ResNet12()) == (2, 640)
    assert shape(jm.backbones.ResNet12(flatten=True)) == (2, 16_000)  # MetaOptNet's
    assert shape(jm.backbones.ResNet18()) == (2, 512)


def test_small_images_keep_their_size_in_the_stem():
    module, x = jm.backbones.ResNet18(5, WIDTHS, small_images=True), jnp.ones((2, 32, 32, 3))
    variables = jax.eval_shape(module.init, KEY, x)
    build = lambda: jm.backbones.NnxResNet18((32, 32, 3), 5, widths=WIDTHS, small_images=True, rngs=nnx.Rngs(0))
    assert variables["params"]["stem"]["kernel"].shape == nnx.eval_shape(build).stem.kernel.shape == (3, 3, 3, 4)
    stem = lambda net: jax.eval_shape(
        lambda v: net.apply(v, x, mutable=True, capture_intermediates=lambda m, _: m.name == "block0"), variables
    )[1]["intermediates"]["block0"]["__call__"][0]
    assert stem(module).shape == (2, 32, 32, 4)


def test_no_grouped_convolutions_under_the_task_axis():
    learner = jm.maml(jm.from_linen(NETS["resnet12 flat"][0]), jm.losses.cross_entropy, num_steps=1)
    batch = lambda key: jm.Batch(jax.random.normal(key, X.shape), jax.random.randint(key, (4,), 0, 3))
    sampler = lambda key: jm.Task(batch(key), batch(key))
    tasks = jax.eval_shape(jax.vmap(sampler), jax.random.split(KEY, 3))
    state = jax.eval_shape(lambda key: jm.init(learner, sampler, optax.sgd(0.1), key=key), KEY)
    assert "feature_group_count = 3" not in jax.jit(jm.meta_step(learner, optax.sgd(0.1))).lower(state, tasks).as_text()


def test_images_that_vanish():
    with pytest.raises(ValueError, match="8 x 8 pixels vanish in 4 blocks"):
        jm.backbones.ResNet12().init(KEY, jnp.ones((1, 8, 8, 3)))
