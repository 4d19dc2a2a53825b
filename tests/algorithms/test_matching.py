"""Matching networks against hand-computed arrays and an independent NumPy reference, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

pytestmark = pytest.mark.usefixtures("x64")
IDENTITY = jm.from_functions(lambda key, x: (), lambda variables, x: x)
sigmoid = lambda a: 1 / (1 + np.exp(-a))


def softmax(a):
    e = np.exp(a - a.max())
    return e / e.sum()


def predict(learner, meta, support, x):
    return np.asarray(learner.predict(meta, learner.adapt(meta, support), x))


def test_attention_by_hand():
    """Cosines 1, 0 and 1 / sqrt 2 for a query along the first axis: the labels' shares of the softmax."""
    learner = jm.matching(IDENTITY, scale=1.0, num_ways=2)
    support = Batch(jnp.array([[2.0, 0.0], [0.0, 5.0], [1.0, 1.0]]), jnp.array([0, 1, 1]))
    outputs = predict(learner, Variables(()), support, jnp.array([[3.0, 0.0]]))
    share = np.exp([1.0, 0.0, 0.5**0.5]) / np.exp([1.0, 0.0, 0.5**0.5]).sum()
    np.testing.assert_allclose(
        np.exp(outputs[0]) / np.exp(outputs[0]).sum(), [share[0], share[1] + share[2]], rtol=1e-12
    )


def test_weights_count_examples():
    """Weight 2 is the example twice, weight 0 is none; an absent class cannot win and is never NaN."""
    learner = jm.matching(IDENTITY, scale=3.0)
    x, ways = jax.random.normal(jax.random.key(0), (4, 3), jnp.float64), jnp.array([True, True, False])
    weighted = Batch(x, jnp.array([0, 1, 1, 0]), jnp.array([2.0, 1.0, 1.0, 0.0]), ways)
    repeated = Batch(x[jnp.array([0, 0, 1, 2])], jnp.array([0, 0, 1, 1]), None, ways)
    query = jax.random.normal(jax.random.key(1), (5, 3), jnp.float64)
    a, b = (predict(learner, Variables(()), support, query) for support in (weighted, repeated))
    np.testing.assert_allclose(a, b, rtol=1e-12)
    assert (a[:, 2] == np.finfo(np.float64).min).all()


def lstm(cell, x, c):
    """The textbook's LSTM, gate by gate; the kernel's columns are input, forget, candidate and output."""
    kernel, bias, width = np.asarray(cell["kernel"]), np.asarray(cell["bias"]), len(c)
    gates = [slice(n * width, (n + 1) * width) for n in range(4)]
    i, f, g, o = (x @ kernel[:, gate] + bias[gate] for gate in gates)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def reference(params, x, labels, query, num_ways, num_steps, scale):
    """The paper's embeddings in full context, then its attention, one example at a time."""

    def read_in_order(cell, rows):
        h, c, out = np.zeros(x.shape[1]), np.zeros(x.shape[1]), []
        for row in rows:
            h, c = lstm(cell, np.concatenate([row, h]), c)
            out.append(h)
        return np.stack(out)

    g = x + read_in_order(params["forward"], x) + read_in_order(params["backward"], x[::-1])[::-1]
    logits = np.zeros((len(query), num_ways))
    for n, z in enumerate(query):
        h, c = z, np.zeros_like(z)
        for _ in range(num_steps):
            r = softmax(g @ h) @ g
            out, c = lstm(params["attention"], np.concatenate([z, h, r]), c)
            h = out + z
        cosines = g @ h / np.linalg.norm(g, axis=1) / np.linalg.norm(h)
        logits[n] = [np.log(np.exp(scale * cosines[labels == w]).sum()) for w in range(num_ways)]
    return logits


@pytest.mark.parametrize("num_steps", [0, 3])
def test_full_context_is_the_papers(num_steps):
    """Against the reference on the examples that are not padding, which lies in between and at either end."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 2)), np.array([0, 1, 0, 2, 1, 2, 0])
    weight, query = np.array([0.0, 1, 1, 0, 1, 1, 0]), rng.normal(size=(3, 2))
    support = Batch(jnp.asarray(x), jnp.asarray(y), jnp.asarray(weight), jnp.ones(3, bool))
    learner = jm.matching(IDENTITY, full_context=True, num_steps=num_steps, scale=2.0)
    meta = learner.init(jax.random.key(0), Task(support, support))
    assert {name: meta.params[name]["kernel"].shape for name in ("forward", "backward", "attention")} == {
        "forward": (4, 8), "backward": (4, 8), "attention": (6, 8)
    }  # fmt: skip
    kept = weight > 0
    expected = reference(meta.params, x[kept], y[kept], query, 3, num_steps, 2.0)
    np.testing.assert_allclose(predict(learner, meta, support, jnp.asarray(query)), expected, rtol=1e-12)


def test_errors():
    with pytest.raises(ValueError, match="`num_steps` must be >= 0, got -1"):
        jm.matching(IDENTITY, num_steps=-1)
    with pytest.raises(ValueError, match="number of ways is unknown"):
        jm.matching(IDENTITY).adapt(Variables(()), Batch(jnp.ones((2, 2)), jnp.array([0, 1])))
