"""Estimates, intervals, adaptation curves, and what is compiled."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import KEY, KINDS, Net, build, tokens

import jaxmeta as jm
from jaxmeta import Batch, Estimate, evaluation

SAMPLER = KINDS["regression"].sampler
LEARNER = build("maml", "regression")
META = jm.init(LEARNER, SAMPLER, optax.sgd(0.1), key=KEY).meta


def test_two_calls_compile_once():
    learner = build("maml", "regression")
    jm.evaluate(learner, META, SAMPLER, num_tasks=8)
    other = jax.tree.map(lambda a: a + 1, META)
    jm.evaluate(learner, other, SAMPLER, num_tasks=8, key=jax.random.key(5))
    assert [program._cache_size() for program in evaluation._compiled(learner, None, None)] == [1, 1]


def test_the_interval_is_over_tasks():
    values, transductive = jm.task_metrics(LEARNER, META, SAMPLER, num_tasks=70)
    found = jm.evaluate(LEARNER, META, SAMPLER, num_tasks=70)["mse"]
    assert values["mse"].shape == (70,) and not transductive
    np.testing.assert_allclose(found.mean, values["mse"].mean(), rtol=1e-6)
    np.testing.assert_allclose(found.ci95, 1.96 * values["mse"].std(ddof=1) / 70**0.5, rtol=1e-6)


def test_tasks_do_not_depend_on_how_many_there_are():
    few = jm.task_metrics(LEARNER, META, SAMPLER, num_tasks=3)[0]["mse"]
    many = jm.task_metrics(LEARNER, META, SAMPLER, num_tasks=100)[0]["mse"]
    np.testing.assert_allclose(few, many[:3], rtol=1e-5)


def test_by_hand():
    metric = {"first": lambda outputs, y, weight: outputs[0, 0] - y[0, 0]}
    found = jm.task_metrics(LEARNER, META, SAMPLER, num_tasks=1, metrics=metric)[0]["first"][0]
    k_task, _, _ = jax.random.split(jax.random.fold_in(jax.random.key(evaluation.EVALUATION_SEED), 0), 3)
    task = SAMPLER(k_task)
    outputs = LEARNER.predict(META, LEARNER.adapt(META, task.support), task.query.x)
    np.testing.assert_allclose(found, outputs[0, 0] - task.query.y[0, 0], rtol=1e-5)


def test_weights_reach_metrics():
    learner = build("maml", "tokens")
    meta = jm.init(learner, tokens, optax.sgd(0.1), key=KEY).meta
    noisy = lambda key: _scramble(tokens(key))
    a, b = (jm.evaluate(learner, meta, sampler, num_tasks=6)["accuracy"].mean for sampler in (tokens, noisy))
    assert a == b


def _scramble(task):
    """Other labels where the weight is zero."""
    query = task.query
    return task._replace(query=query._replace(y=jnp.where(query.weight > 0, query.y, 2 - query.y)))


def test_padded_queries_do_not_reach_transductive_statistics():
    learner = build("maml", "classification", norm=True)
    sampler = KINDS["classification"].sampler
    meta = jm.init(learner, sampler, optax.sgd(0.1), key=KEY).meta

    def padded(key):
        task = sampler(key)
        x = jnp.concatenate([task.query.x, jnp.full((4, 4), 99.0)])
        y, weight = jnp.concatenate([task.query.y, jnp.zeros(4, int)]), jnp.array([1.0] * 12 + [0.0] * 4)
        return task._replace(query=Batch(x, y, weight, task.query.ways))

    plain, hidden = (jm.evaluate(learner, meta, s, num_tasks=8)["accuracy"] for s in (sampler, padded))
    assert plain.mean == hidden.mean


def test_adaptation_curve_starts_without_adaptation():
    make = partial(jm.maml, jm.from_linen(KINDS["regression"].net), jm.losses.mse, inner_optimizer=optax.sgd(0.1))
    state = jm.init(make(num_steps=2), SAMPLER, optax.adam(1e-2), key=KEY)
    state, _ = jm.fit(make(num_steps=2), SAMPLER, optax.adam(1e-2), state, num_steps=60, tasks_per_step=8)
    curve = jm.adaptation_curve(make, state.meta, SAMPLER, steps=[2, 1], num_tasks=50)
    assert list(curve) == [0, 1, 2]
    assert curve[2]["mse"].mean < curve[1]["mse"].mean < curve[0]["mse"].mean


def test_estimates_read_well():
    assert str(Estimate(0.961, 0.004, 600, True)) == "0.9610 ± 0.0040 (600 tasks, transductive)"
    assert repr({"accuracy": Estimate(0.5, 0.1, 10, False)}) == "{'accuracy': 0.5000 ± 0.1000 (10 tasks)}"


def test_half_precision_metrics_are_averaged_in_full():
    metric = {"near one": lambda outputs, y, weight: (1.007 + 0 * outputs[0, 0]).astype(jnp.bfloat16)}
    found = jm.evaluate(LEARNER, META, SAMPLER, num_tasks=300, metrics=metric)["near one"]
    assert found.mean == float(jnp.bfloat16(1.007)) and found.ci95 == 0.0


@pytest.mark.parametrize("predict", [lambda x: jnp.cumsum(x, 0), lambda x: jnp.cumsum(x[::-1], 0)[::-1]])
def test_one_sided_dependence_on_other_queries_is_transductive(predict):
    learner = LEARNER._replace(
        predict=lambda meta, adapted, x, key=None: {"outputs": predict(x), "scale": jnp.ones(())}
    )
    metric = {"zero": lambda outputs, y, weight: 0.0 * outputs["outputs"].sum()}
    assert jm.evaluate(learner, META, SAMPLER, num_tasks=2, metrics=metric)["zero"].transductive


def test_one_task_has_no_interval():
    assert np.isnan(jm.evaluate(LEARNER, META, SAMPLER, num_tasks=1)["mse"].ci95)


def test_errors():
    with pytest.raises(ValueError, match="`num_tasks` must be at least 1, got 0"):
        jm.evaluate(LEARNER, META, SAMPLER, num_tasks=0)


def test_a_network_with_too_few_outputs_is_named():
    learner = jm.maml(jm.from_linen(Net(2)), jm.losses.cross_entropy)
    with pytest.raises(ValueError, match="The model gives 2 logits but the task has 3 ways"):
        jm.init(learner, KINDS["classification"].sampler, optax.sgd(0.1), key=KEY)


def test_forgetting_by_hand():
    """A learner that predicts its parameter: its error on phase j after phase i is (m_i - c_j)^2."""
    model = jm.from_functions(lambda key, x: jnp.zeros(1), lambda v, x: v.params[None] + 0 * x)
    learner = jm.maml(model, jm.losses.mse, num_steps=0)
    batch = lambda c: jm.Batch(jnp.zeros((1, 1)), jnp.full((1, 1), c))
    phases = [
        jax.tree_util.Partial(lambda c, key: jm.Task(batch(c), batch(c)), jnp.float32(c)) for c in (0.0, 1.0, 3.0)
    ]
    metas = [jm.Variables(jnp.array([m])) for m in (0.0, 1.0, 2.0)]
    found = jm.forgetting_curve(learner, metas, phases, num_tasks=2, metric="mse", mode="min")
    np.testing.assert_allclose(found.scores, [[0, 1, 9], [1, 0, 4], [4, 1, 1]], atol=1e-6)
    np.testing.assert_allclose(found.curve, [0, 1, (4 + 1) / 2], atol=1e-6)
    gained = jm.forgetting_curve(learner, metas, phases, num_tasks=2, metric="mse", mode="max").curve
    np.testing.assert_allclose(gained, [0, -1, ((1 - 4) + (0 - 1)) / 2], atol=1e-6)
    with pytest.raises(ValueError, match="`metas` needs one entry for each of the 3 phases, got 2"):
        jm.forgetting_curve(learner, metas[:2], phases, num_tasks=2)
    with pytest.raises(ValueError, match="`metric` 'accuracy' is not among"):
        jm.forgetting_curve(learner, metas, phases, num_tasks=2)
    with pytest.raises(ValueError, match="`mode`"):
        jm.forgetting_curve(learner, metas, phases, num_tasks=2, mode="most")
