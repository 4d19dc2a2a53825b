"""SNAIL against NumPy on whole sequences: one per query, with the query as its last row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import dense, sigmoid, softmax

import jaxmeta as jm
from jaxmeta import Batch, Task

W, N = 3, 5


def setup():
    x = jax.random.normal(jax.random.key(0), (N + 2, 2))
    support = Batch(x[:N], jnp.array([0, 2, 1, 2, 0]), ways=jnp.ones(W, bool))
    learner = jm.snail(jm.identity(), filters=3, attention=((4, 2), (3, 5)))
    meta = learner.init(jax.random.key(1), Task(support, support))
    return learner, jax.tree.map(lambda a: a.astype(float), meta), support, x[N:]


def by_hand(p, rows):
    dilation = 1
    for name in sorted(p["layers"]):
        layer, t = p["layers"][name], np.arange(len(rows))
        if "query" in layer:
            q, k, v = (dense(layer[part], rows) for part in ("query", "key", "value"))
            new = softmax(np.where(t[None] <= t[:, None], q @ k.T / np.sqrt(q.shape[1]), -np.inf)) @ v
        else:
            before = np.concatenate([np.zeros((dilation, rows.shape[1])), rows])[: len(rows)]
            u, g = np.split(dense(layer, np.concatenate([rows, before], -1)), 2, -1)
            new, dilation = np.tanh(u) * sigmoid(g), 2 * dilation
        rows = np.concatenate([rows, new], -1)
    return dense(p["head"], rows)[-1]


@pytest.mark.usefixtures("x64")
def test_numpy_reference():
    learner, meta, support, queries = setup()
    assert [name[3:] for name in sorted(meta.params["layers"])] == ["attention", *3 * ["convolution"], "attention"]
    seen = np.concatenate([support.x, np.eye(W)[np.asarray(support.y)]], -1)
    sequences = [np.concatenate([seen, np.concatenate([q, np.zeros(W)])[None]]) for q in np.asarray(queries)]
    expected = np.stack([by_hand(meta.params, rows) for rows in sequences])
    answer = jax.jit(lambda support: learner.predict(meta, learner.adapt(meta, support), queries))
    np.testing.assert_allclose(answer(support), expected, rtol=1e-9, atol=1e-12)

    # Padding in between moves the rows behind it, and the query, one place to the front.
    hole = support._replace(weight=jnp.array([1.0, 0.0, 1.0, 1.0, 1.0]))
    expected = np.stack([by_hand(meta.params, np.delete(rows, 1, 0)) for rows in sequences])
    np.testing.assert_allclose(answer(hole), expected, rtol=1e-9, atol=1e-12)


def test_other_numbers_of_shots():
    """Parameters for five rows read any number of rows."""
    learner, meta, support, queries = setup()
    more = Batch(*jax.tree.map(lambda a: jnp.concatenate([a, a, a]), (support.x, support.y)), ways=support.ways)
    assert jax.eval_shape(lambda: learner.predict(meta, learner.adapt(meta, more), queries)).shape == (2, W)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`attention` needs at least one pair"):
        jm.snail(jm.identity(), attention=())
