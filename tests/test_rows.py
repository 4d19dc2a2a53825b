"""Hidden rows, empty support sets, learners whose `predict` takes no weight; and heads that are wider than a task."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task
from jaxmeta.learner import mask_ways, predict_rows
from jaxmeta.rows import hide_inputs, hide_rows

NAN = jnp.nan
X = jnp.arange(8.0).reshape(4, 2)


def test_hidden_rows_are_copies_of_the_first_that_counts():
    batch = hide_rows(Batch({"a": X.at[0].set(NAN)}, jnp.array([-1, 5, 6, 7]), jnp.array([0.0, 1, 1, 1])))
    assert batch.x["a"].tolist() == [[2, 3], [2, 3], [4, 5], [6, 7]] and batch.y.tolist() == [5, 5, 6, 7]
    nothing = hide_rows(Batch(X * NAN, jnp.full(4, -100), jnp.zeros(4)))
    assert not nothing.x.any() and not nothing.y.any()


def test_hidden_tokens_are_context_but_never_nan():
    x = jnp.array([[1.0, 2.0], [NAN, 4.0], [5.0, NAN]])
    weight = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert hide_inputs(x, weight).tolist() == [[1, 2], [0, 4], [1, 2]]


def test_an_empty_support_set_is_the_prior_or_a_sentence():
    task = jm.tasks.sinusoid(num_shots=3)(jax.random.key(0))
    empty = Batch(jnp.zeros((0, 1)), jnp.zeros((0, 1)))
    nothing = task.support._replace(weight=jnp.zeros(3))
    for num_heads in (0, 2):
        learner = jm.neural_process(jm.identity(), hidden=4, num_layers=1, num_heads=num_heads)
        meta = learner.init(jax.random.key(1), task)
        prior, same = (learner.predict(meta, learner.adapt(meta, s), task.query.x).mean for s in (empty, nothing))
        np.testing.assert_allclose(prior, same, rtol=1e-6)
        assert jnp.isfinite(learner.loss(meta, Task(empty, task.query))[0])
    learner = jm.maml(jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse, num_steps=1)
    with pytest.raises(ValueError, match="The support set has no example"):
        learner.adapt(learner.init(jax.random.key(1), task), empty)


def test_a_predict_without_weight_serves_tasks_without_hidden_rows():
    learner = jm.protonet(jm.identity(), num_ways=2)
    learner = learner._replace(predict=lambda meta, adapted, x, key=None: x)
    assert predict_rows(learner, None, None, X) is X
    with pytest.raises(TypeError, match="takes no `weight` to hide them"):
        predict_rows(learner, None, None, X, weight=jnp.ones(4))


def test_a_wide_head_serves_fewer_ways():
    masked = mask_ways(jnp.ones((2, 4)), jnp.array([True, False]))
    assert (masked > 0).tolist() == [[True, False, False, False]] * 2 and jnp.isfinite(masked).all()
    with pytest.raises(ValueError, match="The model gives 4 logits but the task has 5 ways"):
        mask_ways(jnp.ones((2, 4)), jnp.ones(5, bool))


def test_of_several_outputs_those_of_the_length_of_ways_are_logits():
    ways = jnp.array([True, False])
    masked = mask_ways({"label": jnp.ones((1, 2)), "image": jnp.ones((1, 3))}, ways)
    assert (masked["label"] > 0).tolist() == [[True, False]] and masked["image"].tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match="none of the model's outputs"):
        mask_ways((jnp.ones((1, 4)), jnp.ones((1, 3))), ways)


def test_inductive_predictions_do_not_depend_on_each_other():
    """The same as a model with the policy "support", on the same meta."""
    make = lambda norm: jm.maml(
        jm.from_linen(jm.backbones.MLP((4,), num_outputs=2, norm=True), norm=norm),
        jm.losses.cross_entropy,
        inner_optimizer=optax.sgd(0.1),
        num_steps=1,
    )
    support, learner = Batch(X, jnp.array([0, 1, 0, 1])), make("transductive")
    meta = learner.init(jax.random.key(0), Task(support, support))
    others = X.at[1:].add(9.0)

    def first(learner, x):
        return jax.jit(lambda x: learner.predict(meta, learner.adapt(meta, support), x)[0])(x)

    apart = jm.inductive(learner)
    assert not np.allclose(first(learner, X), first(learner, others), atol=1e-3)
    np.testing.assert_array_equal(first(apart, X), first(apart, others))
    np.testing.assert_array_equal(first(apart, X), first(make("support"), X))
