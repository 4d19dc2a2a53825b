"""Encoders of texts: padding reaches nothing, linen equals nnx, the GRU by hand, exact meta-gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxmeta as jm
from jaxmeta import backbones

IDS = np.array([[2, 9, 4, 7, 3, 0, 0], [2, 5, 3, 0, 0, 0, 0], [2, 11, 12, 13, 14, 15, 3]], np.int32)
LENGTH = np.array([5, 3, 7], np.int32)
X = {"ids": jnp.asarray(IDS), "length": jnp.asarray(LENGTH)}
SIZES = {
    "BagOfEmbeddings": {"features": 6},
    "BiGRU": {"features": 6, "hidden": 5},
    "TransformerEncoder": {"features": 6, "num_layers": 2, "num_heads": 2, "max_length": 7},
}
POOLINGS = {
    "BagOfEmbeddings": ("mean", "tokens"),
    "BiGRU": ("mean", "last", "tokens"),
    "TransformerEncoder": ("mean", "cls", "tokens"),
}
CASES = [(name, pooling) for name in SIZES for pooling in POOLINGS[name]]


def both(name, **more):
    settings = {**SIZES[name], **more}
    linen = getattr(backbones, name)(16, **settings)
    return jm.from_linen(linen), jm.from_nnx(lambda rngs: getattr(backbones, f"Nnx{name}")(16, **settings, rngs=rngs))


@pytest.mark.parametrize(("name", "pooling"), sorted(CASES, key=lambda case: case[1] != "tokens"))
def test_linen_equals_nnx_and_padding_reaches_no_output(name, pooling):
    linen, nnx_model = both(name, pooling=pooling, num_outputs=3)
    variables = linen.init(jax.random.key(0), X)
    outputs = linen.apply(variables, X)[0]
    np.testing.assert_allclose(nnx_model.apply(jm.Variables(variables.params, {}), X)[0], outputs, atol=1e-6)
    assert jax.tree.structure(nnx_model.init(jax.random.key(0), X).params) == jax.tree.structure(variables.params)
    assert outputs.shape == ((3, 7, 3) if pooling == "tokens" else (3, 3))
    noise = np.random.default_rng(0).integers(1, 16, IDS.shape)
    other = {**X, "ids": jnp.asarray(np.where(np.arange(7) < LENGTH[:, None], IDS, noise))}
    np.testing.assert_array_equal(linen.apply(variables, other)[0], outputs)
    longer = {**X, "ids": jnp.pad(X["ids"], ((0, 0), (0, 0 if name.startswith("T") else 4)))}
    again = linen.apply(variables, longer)[0]
    np.testing.assert_allclose(again[:, :7] if pooling == "tokens" else again, outputs, atol=1e-6)
    if pooling == "tokens":
        assert not np.asarray(outputs)[np.arange(7) >= LENGTH[:, None]].any()


def test_the_gru_is_the_recurrence_of_its_paper(x64):
    rng = np.random.default_rng(0)
    gates, kernel, bias = rng.normal(size=(1, 3, 6)), rng.normal(size=(2, 6)), rng.normal(size=6)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    for reverse in (False, True):
        h, states = np.zeros(2), {}
        for t in reversed(range(2)) if reverse else range(2):
            r, u = np.split(sigmoid(gates[0, t, :4] + h @ kernel[:, :4] + bias[:4]), 2)
            n = np.tanh(gates[0, t, 4:] + r * (h @ kernel[:, 4:] + bias[4:]))
            h = states[t] = (1 - u) * n + u * h
        mask = jnp.array([[True, True, False]])
        found, end = backbones._text.gru(*map(jnp.asarray, (gates, kernel, bias)), mask, reverse=reverse)
        np.testing.assert_allclose(found[0, :2], [states[0], states[1]], atol=1e-12)
        np.testing.assert_allclose(end[0], h, atol=1e-12)


def test_order_counts_in_all_but_the_bag():
    swapped = {**X, "ids": X["ids"].at[:, 1].set(X["ids"][:, 0]).at[:, 0].set(X["ids"][:, 1])}
    for name in SIZES:
        model = both(name)[0]
        variables = model.init(jax.random.key(0), X)
        difference = jnp.abs(model.apply(variables, X)[0] - model.apply(variables, swapped)[0]).max()
        assert (difference < 1e-6) == (name == "BagOfEmbeddings")


@pytest.mark.parametrize("as_nnx", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n[:3] != "Bag")) for n in SIZES])
def test_meta_gradients_are_exact_in_mixed_mode(name, as_nnx, x64):
    model = both(name, num_outputs=3)[as_nnx]
    task = jm.Task(*[jm.Batch(X, jnp.arange(3), ways=jnp.ones(3, bool))] * 2)
    cast = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float64), tree)
    params = cast(model.init(jax.random.key(0), X).params)
    gradients = []
    for mode in ("mixed", "reverse"):
        learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.1), num_steps=2, gradient=mode)
        loss = jax.jit(lambda params, learner=learner: learner.loss(jm.Variables(params), task, None)[0])
        gradients.append(jax.jit(jax.grad(loss))(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), *gradients)
    direction = jax.tree.map(lambda a: jnp.asarray(np.random.default_rng(1).normal(size=a.shape)), params)
    move = lambda e: jax.tree.map(lambda p, d: p + e * d, params, direction)
    slope = (loss(move(1e-6)) - loss(move(-1e-6))) / 2e-6
    inner = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradients[0], direction)))
    np.testing.assert_allclose(inner, slope, rtol=1e-6, atol=1e-8)


def test_dropout_acts_in_training_with_a_key_alone():
    for model in both("BagOfEmbeddings", dropout=0.5):
        variables = model.init(jax.random.key(0), X)
        run = lambda key, train, model=model, variables=variables: model.apply(variables, X, train=train, key=key)[0]
        np.testing.assert_array_equal(run(None, True), run(jax.random.key(1), False))
        assert jnp.abs(run(jax.random.key(1), True) - run(jax.random.key(2), True)).max() > 0


def test_what_does_not_fit_is_named():
    for module, message in (
        (lambda: backbones.NnxBiGRU(16, pooling="cls", rngs=nnx.Rngs(0)), "`pooling` must be one of 'mean', 'last'"),
        (lambda: backbones.NnxTransformerEncoder(16, 6, num_heads=4, rngs=nnx.Rngs(0)), "multiple of `num_heads`"),
        (lambda: backbones.NnxTransformerEncoder(16, 4, max_length=3, rngs=nnx.Rngs(0))(X), "x. has 7 tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            module()


def test_the_last_states_are_those_of_single_texts():
    model = both("BiGRU", pooling="last")[0]
    variables = model.init(jax.random.key(0), X)
    together = model.apply(variables, X)[0]
    for row, n in itertools.islice(enumerate(LENGTH), 3):
        alone = {"ids": X["ids"][row : row + 1, :n], "length": X["length"][row : row + 1]}
        np.testing.assert_allclose(model.apply(variables, alone)[0][0], together[row], atol=1e-6)
