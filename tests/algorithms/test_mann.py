"""MANN against the paper's equations in NumPy, and what the label offset means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import dense, lstm, sigmoid, softmax, softplus

import jaxmeta as jm
from jaxmeta import Batch, Task

M, S, R, H, W = 5, 3, 2, 4, 3
OPTIONS = {"num_slots": M, "slot_size": S, "num_heads": R, "hidden": H, "usage_decay": 0.9}


def setup(y, **options):
    x = jax.random.normal(jax.random.key(0), (6, 2))
    support, query = Batch(x[:4], y, ways=jnp.ones(W, bool)), Batch(x[4:], y[:2])
    learner = jm.mann(jm.identity(), **OPTIONS, **options)
    meta = learner.init(jax.random.key(1), Task(support, query))
    return learner, jax.tree.map(lambda a: 2 * a.astype(float), meta), support, query


def by_hand(p, xs, targets, queries, strength):
    unit = lambda a: a / np.sqrt((a**2).sum(-1, keepdims=True) + 1e-6)
    slots, read, usage = np.zeros((M, S)), np.zeros((R, M)), np.zeros(M)
    found, hidden, cell, last = np.zeros(R * S), np.zeros(H), np.zeros(H), np.zeros(targets.shape[1])

    def step(x):
        h, c = lstm(p["controller"], hidden, cell, np.concatenate([x, last, found]))
        key, gate = np.tanh(dense(p["key"], h)).reshape(R, S), sigmoid(dense(p["gate"], h))
        memory, write = slots.copy(), np.zeros((R, M))
        least = np.argsort(usage, kind="stable")[:R]
        memory[least] = 0
        for r in range(R):
            write[r] = gate[r] * read[r]
            write[r, least[r]] += 1 - gate[r]
            memory += np.outer(write[r], key[r])
        beta = np.ones(R) if strength == 1 else 1 + softplus(dense(p["strength"], h))
        weights = softmax(beta[:, None] * (unit(key) @ unit(memory).T))
        seen = (weights @ memory).reshape(-1)
        output = dense(p["head"], np.concatenate([h, seen]))
        return (memory, weights, 0.9 * usage + weights.sum(0) + write.sum(0), seen, h, c), output

    for x, target in zip(xs, targets, strict=True):
        (slots, read, usage, found, hidden, cell), _ = step(x)
        last = target
    return slots, np.stack([step(x)[1] for x in queries])


@pytest.mark.parametrize("strength", [1.0, None])
@pytest.mark.usefixtures("x64")
def test_numpy_reference(strength):
    y = jnp.array([0, 2, 1, 2])
    learner, meta, support, query = setup(y, strength=strength)
    slots, outputs = by_hand(meta.params["memory"], support.x, np.eye(W)[np.asarray(y)], query.x, strength)
    adapted = learner.adapt(meta, support)
    np.testing.assert_allclose(adapted.memory.slots, slots, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(learner.predict(meta, adapted, query.x), outputs, rtol=1e-9, atol=1e-12)


def test_a_target_comes_one_step_late():
    learner, meta, support, query = setup(jnp.array([0, 2, 1, 2]))
    a, b = (learner.adapt(meta, support._replace(y=support.y.at[-1].set(label))).memory for label in (0, 1))
    np.testing.assert_array_equal(a.slots, b.slots)
    assert a.target.argmax() == 0 and b.target.argmax() == 1


def test_numbers_as_targets():
    learner, meta, support, query = setup(jnp.ones((4, 2)))
    answer = lambda: learner.predict(meta, learner.adapt(meta, support._replace(ways=None)), query.x)
    assert jax.eval_shape(answer).shape == (2, 2)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_heads` must be 1 to `num_slots` = 2, .* got 3"):
        jm.mann(jm.identity(), num_slots=2, num_heads=3)
    learner, _, support, query = setup(jnp.array([0, 2, 1, 2]))
    with pytest.raises(ValueError, match="number of ways is unknown"):
        learner.init(jax.random.key(0), Task(support._replace(ways=None), query))
    with pytest.raises(ValueError, match=r"integer labels \[N\] or numbers"):
        learner.init(jax.random.key(0), Task(support._replace(y=jnp.ones((4, 2), int)), query))
