"""Relation networks: the default module against NumPy, modules of one's own, and what BatchNorm in one sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

IDENTITY = jm.from_functions(lambda key, x: (), lambda variables, x: x)


def outputs_of(learner, support, x, meta=None):
    meta = learner.init(jax.random.key(0), Task(support, support)) if meta is None else meta
    return meta, np.asarray(learner.predict(meta, learner.adapt(meta, support), x))


@pytest.mark.parametrize("class_feature", ["mean", "sum"])
@pytest.mark.usefixtures("x64")
def test_the_default_module_is_a_perceptron_on_pairs(class_feature):
    rng = np.random.default_rng(0)
    x, query = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    support = Batch(
        jnp.asarray(x), jnp.array([0, 1, 1, 0]), jnp.array([1.0, 1.0, 1.0, 0.0]), jnp.array([1, 1, 0], bool)
    )
    learner = jm.relation(IDENTITY, hidden=(6,), class_feature=class_feature)
    meta, outputs = outputs_of(learner, support, jnp.asarray(query))
    first, last = (jax.tree.map(np.asarray, layer) for layer in meta.params["relation"].values())
    classes = [x[0], x[1] + x[2] if class_feature == "sum" else (x[1] + x[2]) / 2]
    for n in range(5):
        for w in range(2):
            h = np.maximum(np.concatenate([classes[w], query[n]]) @ first["kernel"] + first["bias"], 0)
            np.testing.assert_allclose(outputs[n, w], (h @ last["kernel"] + last["bias"])[0], rtol=1e-12)
    assert (outputs[:, 2] == np.finfo(np.float64).min).all()


def test_maps_reach_a_module_as_maps():
    """Two pixels of three channels: pairs keep the pixels and join the channels, the class first."""
    seen = []

    def judge(variables, pairs):
        seen.append(pairs.shape)
        return (pairs[..., :3] * pairs[..., 3:]).sum((1, 2))

    learner = jm.relation(IDENTITY, module=jm.from_functions(lambda key, x: (), judge), num_ways=2)
    x = jax.random.normal(jax.random.key(0), (4, 2, 3))
    _, outputs = outputs_of(learner, Batch(x[:2], jnp.array([1, 0])), x[2:])
    assert seen[0] == (1, 2, 6) and seen[-1] == (4, 2, 6)
    np.testing.assert_allclose(outputs, np.einsum("nij,wij->nw", x[2:], x[jnp.array([1, 0])]), rtol=1e-5)


class Judge(linen.Module):
    @linen.compact
    def __call__(self, pairs, train: bool):
        pairs = linen.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(pairs)
        return linen.Dense(1)(jnp.tanh(pairs))


@pytest.mark.parametrize("norm, interact", [("support", False), ("running", False), ("transductive", True)])
def test_batch_norm_in_the_module_follows_its_policy(norm, interact):
    """Padded queries and absent classes never reach its statistics; other queries only under "transductive"."""
    learner = jm.relation(IDENTITY, module=jm.from_linen(Judge(), norm=norm))
    x, ways = jax.random.normal(jax.random.key(0), (8, 3)), jnp.array([True, True, False])
    support, query = Batch(x[:4], jnp.array([0, 1, 0, 1]), None, ways), x[4:]
    meta, outputs = outputs_of(learner, support, query)
    moved = outputs_of(learner, support, query.at[1:].add(3.0), meta)[1]
    assert np.allclose(outputs[0], moved[0], rtol=1e-5) != interact
    weight = jnp.array([1.0, 1.0, 1.0, 0.0])
    hide = lambda x: learner.predict(meta, learner.adapt(meta, support), x, weight=weight)[:3]
    np.testing.assert_array_equal(hide(query), hide(query.at[3].set(99.0)))
    narrow = support._replace(ways=ways[:2])
    np.testing.assert_allclose(outputs_of(learner, narrow, query, meta)[1], outputs[:, :2], rtol=1e-5)
    task = Task(support, Batch(query, jnp.array([0, 1, 0, 1]), None, ways))
    state = learner.loss(meta, task, jax.random.key(1))[1].state
    same = jax.tree.map(lambda a, b: bool((a == b).all()), state, meta.state)
    assert all(jax.tree.leaves(same)) == (norm != "running")
    if norm == "support":  # those of the support set's own pairs with the two classes
        classes = np.stack([(x[0] + x[2]) / 2, (x[1] + x[3]) / 2])
        pairs = np.array([np.concatenate([c, row]) for row in np.asarray(x[:4]) for c in classes])
        found = learner.adapt(meta, support).state["relation"]["batch_stats"]["norm"]["mean"]
        np.testing.assert_allclose(found, pairs.mean(0), atol=1e-6)


def test_it_trains_with_the_papers_loss():
    """The squared error of the scores falls on a single task."""
    x = jax.random.normal(jax.random.key(0), (6, 2))
    task = Task(Batch(x[:2], jnp.array([0, 1])), Batch(x[2:], jnp.array([0, 1, 1, 0])))
    learner = jm.relation(IDENTITY, hidden=(8,), num_ways=2)
    meta = learner.init(jax.random.key(0), task)
    loss = jax.jit(jax.value_and_grad(lambda params: learner.loss(Variables(params, meta.state), task, None)[0]))
    before, grads = loss(meta.params)
    after, _ = loss(jax.tree.map(lambda p, g: p - 0.1 * g, meta.params, grads))
    assert 0 < after < before < 2


def test_errors():
    with pytest.raises(ValueError, match="`class_feature` must be 'mean' or 'sum', got 'max'"):
        jm.relation(IDENTITY, class_feature="max")  # type: ignore[arg-type]
    support = Batch(jnp.ones((2, 2)), jnp.array([0, 1]))
    with pytest.raises(ValueError, match=r"one score per pair, \[P\] or \[P, 1\], got \(1, 4\) for pairs \(1, 4\)"):
        jm.relation(IDENTITY, module=IDENTITY, num_ways=2).init(jax.random.key(0), Task(support, support))
