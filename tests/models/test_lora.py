"""Low-rank adapters: bit-equal at the start, factors alone adapt, and the merged weights are the same model."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax.test_util import check_grads

import jaxmeta as jm


class Attention(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.MultiHeadDotProductAttention(num_heads=2, qkv_features=6, name="attention")(x, x).mean(1)


MODULES = {
    "dense": (jm.from_linen(jm.backbones.MLP((8,), num_outputs=3)), (4, 5), ["dense0", "head"]),
    "attention": (jm.from_linen(Attention()), (4, 3, 5), ["key", "out", "query", "value"]),
    "conv": (
        jm.from_nnx(lambda rngs: jm.backbones.NnxConv4((8, 8, 1), 3, features=4, rngs=rngs)),
        (4, 8, 8, 1),
        None,
    ),
    "linear": (jm.from_nnx(lambda rngs: nnx.Linear(5, 3, rngs=rngs)), (4, 5), None),
    "einsum": (
        jm.from_nnx(lambda rngs: nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs)),
        (4, 3, 6),
        ["key", "out", "query", "value"],
    ),
}


def made(name, rank=1, **more):
    model, shape, layers = MODULES[name]
    x = jax.random.normal(jax.random.key(2), shape)
    base = model.init(jax.random.key(0), x)
    small = jm.lora(model, rank, base=base, **more)
    return model, base, small, small.init(jax.random.key(1), x), x, layers


def moved(variables):
    return variables._replace(params=jax.tree.map(lambda a: a + 0.3, variables.params))


@pytest.mark.parametrize("name", ["dense", "einsum", "conv", "linear", "attention"])
def test_it_begins_bit_equal_and_merges_into_plain_weights(name):
    model, base, small, variables, x, layers = made(name)
    np.testing.assert_array_equal(small.apply(variables, x)[0], model.apply(base, x)[0])
    if layers:
        found = {path.split("/")[-3] for path in map(jm.models._lora.path_name, paths(variables.params))}
        assert found == set(layers)
    assert {path[-1].key for path in paths(variables.params)} == {"a", "b"}
    after = small.apply(moved(variables), x)[0]
    assert jnp.abs(after - model.apply(base, x)[0]).max() > 1e-3
    merged = jm.merge_lora(base, moved(variables))
    assert jax.tree.map(jnp.shape, merged.params) == jax.tree.map(jnp.shape, base.params)
    np.testing.assert_array_equal(model.apply(merged, x)[0], after)


def paths(tree):
    return [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def test_the_sum_is_that_of_the_paper_with_alpha_over_rank():
    model, base, small, variables, x, _ = made("linear", rank=2, alpha=6.0)
    params = {"a": jnp.arange(10.0).reshape(5, 2), "b": jnp.ones((2, 3)).at[1].set(-2.0)}
    delta = 3.0 * np.array(params["a"]) @ np.array(params["b"])
    found = small.apply(variables._replace(params={"kernel": params}), x)[0]
    expected = np.array(x) @ (np.array(base.params["kernel"]) + delta) + np.array(base.params["bias"])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    merged = jm.merge_lora(base, jm.Variables({"kernel": params}), alpha=6.0)
    np.testing.assert_allclose(merged.params["kernel"] - base.params["kernel"], delta, rtol=1e-5)


def test_fast_weights_and_meta_gradients_are_the_factors_alone():
    model, base, small, _, x, _ = made("dense", where=lambda path: path.startswith("dense0"))
    task = jm.Task(*[jm.Batch(x, jnp.arange(4) % 3, ways=jnp.ones(3, bool))] * 2)
    for learner in (
        jm.maml(small, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.5), num_steps=2),
        jm.reptile(small, jm.losses.cross_entropy, num_steps=2),
    ):
        meta = learner.init(jax.random.key(1), task)
        adapted = learner.adapt(meta, task.support)
        sizes = sorted(leaf.size for leaf in jax.tree.leaves(adapted) if jnp.issubdtype(leaf.dtype, jnp.floating))
        assert sizes == [5, 8]
        gradient = jax.grad(lambda meta, learner=learner: learner.loss(meta, task, None)[0])(meta)
        assert jax.tree.structure(gradient.params) == jax.tree.structure(meta.params)
    assert sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(gradient.params)) > 0


def test_the_meta_gradient_is_exact(x64):
    model, base, small, variables, x, _ = made("dense")
    cast = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float64), tree)
    small = jm.lora(model, 1, base=cast(base))
    x = x.astype(jnp.float64)
    task = jm.Task(*[jm.Batch(x, jnp.arange(4) % 3, ways=jnp.ones(3, bool))] * 2)
    learner = jm.maml(small, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.2), num_steps=2)
    loss = lambda params: learner.loss(jm.Variables(params, base.state), task, None)[0]
    check_grads(loss, (cast(moved(variables).params),), 1, modes=["rev"], rtol=1e-5, atol=1e-7)


def test_what_does_not_fit_is_named():
    model, shape, _ = MODULES["dense"]
    base = model.init(jax.random.key(0), jnp.ones(shape))
    with pytest.raises(ValueError, match="`rank` must be a whole number from 1, got 0"):
        jm.lora(model, 0, base=base)
    with pytest.raises(ValueError, match="`rank` is 4, but 'head/kernel' is a 8 x 3 matrix"):
        jm.lora(model, 4, base=base)
    with pytest.raises(ValueError, match=r"`where` chooses no kernel.*\['dense0/kernel', 'head/kernel'\]"):
        jm.lora(model, 1, base=base, where=lambda path: "query" in path)
    with pytest.raises(ValueError, match="`factors` has .'other/kernel'."):
        jm.merge_lora(base, jm.Variables({"other": {"kernel": {"a": jnp.ones((2, 1)), "b": jnp.ones((1, 2))}}}))
