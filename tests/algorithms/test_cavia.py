"""CAVIA against concatenation and FiLM written out, and against a closed form, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jaxmeta as jm
from jaxmeta import Batch, Task

pytestmark = pytest.mark.usefixtures("x64")
wide = lambda tree: jax.tree.map(lambda a: a.astype(float), tree)


def test_one_step_in_closed_form():
    """A linear model y = w x + b + v phi: phi = -lr 2 v mean(r) with residuals r at phi = 0."""
    init = lambda key, x: {"line": {"kernel": jnp.array([[2.0]]), "bias": jnp.array([0.5])}}
    apply = lambda v, x: x @ v.params["line"]["kernel"] + v.params["line"]["bias"][None]
    learner = jm.cavia(jm.from_functions(init, apply), jm.losses.mse, layer="line", num_context=1)
    support = Batch(jnp.array([[1.0], [3.0]]), jnp.array([[1.0], [5.0]]))  # residuals 1.5 and 1.5
    meta = learner.init(jax.random.key(0), Task(support, support))
    v = float(meta.params["context"][0, 0])
    adapted = learner.adapt(meta, support)
    np.testing.assert_allclose(adapted.params, [-2 * v * 1.5], rtol=1e-12)
    outputs = learner.predict(meta, adapted, jnp.array([[2.0]]))
    np.testing.assert_allclose(outputs, [[4.5 - 3 * v**2]], rtol=1e-12)
    np.testing.assert_allclose(learner.loss(meta, Task(support, support))[0], (1.5 - 3 * v**2) ** 2, rtol=1e-12)


def test_concatenation_is_a_wider_input():
    """An MLP whose first kernel has the context's rows below it, given inputs with the context behind them."""
    net = jm.from_linen(jm.backbones.MLP((7,), num_outputs=2))
    learner = jm.cavia(net, jm.losses.mse, layer="dense0", num_context=3, num_steps=2, inner_optimizer=optax.sgd(0.1))
    x, y = jax.random.normal(jax.random.key(0), (6, 4)), jax.random.normal(jax.random.key(1), (6, 2))
    support = Batch(x[:4], y[:4])
    meta = wide(learner.init(jax.random.key(2), Task(support, support)))
    p = meta.params["model"]
    kernel = jnp.concatenate([p["dense0"]["kernel"], meta.params["context"]])

    def outputs(context, x):
        seen = jnp.concatenate([x, jnp.tile(context[None], (len(x), 1))], 1)
        hidden = jax.nn.relu(seen @ kernel + p["dense0"]["bias"][None])
        return hidden @ p["head"]["kernel"] + p["head"]["bias"][None]

    context = jnp.zeros(3)
    for _ in range(2):
        context -= 0.1 * jax.grad(lambda c: jnp.mean((outputs(c, x[:4]) - y[:4]) ** 2))(context)
    adapted = learner.adapt(meta, support)
    np.testing.assert_allclose(adapted.params, context, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(learner.predict(meta, adapted, x[4:]), outputs(context, x[4:]), rtol=1e-10)


def test_film_follows_the_normalisation():
    """A network that applies gamma and beta to the normalised features itself."""

    class Block(linen.Module):
        film: bool = False

        @linen.compact
        def __call__(self, x, shift=None, use_running_average: bool = False):
            x = linen.Conv(5, (3, 3), use_bias=False, name="conv")(x)
            x = linen.BatchNorm(use_running_average, name="norm", param_dtype=jnp.float64)(x)
            if self.film:
                x = x * (1 + shift[:5])[None, None, None] + shift[5:][None, None, None]
            return linen.Dense(2, name="head")(linen.relu(x).mean((1, 2)))

    learner = jm.cavia(jm.from_linen(Block()), jm.losses.cross_entropy, layer="norm", num_context=4)
    x = jax.random.normal(jax.random.key(0), (6, 5, 5, 1))
    support = Batch(x, jnp.array([0, 1, 0, 1, 1, 0]), ways=jnp.ones(2, bool))
    meta = wide(learner.init(jax.random.key(1), Task(support, support)))
    norm = {"scale": jnp.arange(1.0, 6.0), "bias": jnp.linspace(-1, 1, 5)}
    meta.params["model"]["norm"] = norm
    assert meta.params["context"].shape == (4, 10)
    variables = {"params": meta.params["model"], **meta.state}

    def outputs(context):
        return Block(film=True).apply(variables, x, context @ meta.params["context"], mutable=["batch_stats"])[0]

    loss = lambda context: -jnp.take_along_axis(jax.nn.log_softmax(outputs(context)), support.y[:, None], 1).mean()
    adapted = learner.adapt(meta, support)
    np.testing.assert_allclose(adapted.params, -jax.grad(loss)(jnp.zeros(4)), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(learner.predict(meta, adapted, x), outputs(adapted.params), rtol=1e-8)


def test_bad_arguments():
    net = jm.from_linen(jm.backbones.MLP((7,), num_outputs=2))
    with pytest.raises(ValueError, match="`num_context` must be >= 1, got 0"):
        jm.cavia(net, jm.losses.mse, layer="dense0", num_context=0)
    support = Batch(jnp.ones((2, 3)), jnp.ones((2, 2)))
    with pytest.raises(ValueError, match=r"got 'dense1'. There are \['dense0', 'head'\]"):
        jm.cavia(net, jm.losses.mse, layer="dense1").init(jax.random.key(0), Task(support, support))
