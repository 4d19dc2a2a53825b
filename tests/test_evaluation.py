"""Estimates, intervals, adaptation curves, and what is compiled."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import KEY, KINDS, Net, bandit, bandit_learner, build, tokens

import jaxmeta as jm
from jaxmeta import Batch, Estimate, evaluation
from jaxmeta.task_programs import compiled

SAMPLER = KINDS["regression"].sampler
LEARNER = build("maml", "regression")
META = jm.init(LEARNER, SAMPLER, optax.sgd(0.1), key=KEY).meta


def test_two_calls_compile_once():
    learner = build("maml", "regression")
    jm.evaluate(learner, META, SAMPLER, num_tasks=8)
    other = jax.tree.map(lambda a: a + 1, META)
    jm.evaluate(learner, other, SAMPLER, num_tasks=8, key=jax.random.key(5))
    assert [program._cache_size() for program in compiled(learner, None, None, None)[:2]] == [1, 1]


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
    assert plain.mean == pytest.approx(hidden.mean, abs=1e-6)


def test_adaptation_curve_starts_without_adaptation():
    make = partial(jm.maml, jm.from_linen(KINDS["regression"].net), jm.losses.mse, inner_optimizer=optax.sgd(0.1))
    state = jm.init(make(num_steps=2), SAMPLER, optax.adam(1e-2), key=KEY)
    state, _ = jm.fit(make(num_steps=2), SAMPLER, optax.adam(1e-2), state, num_steps=60, tasks_per_step=8)
    curve = jm.adaptation_curve(make, state.meta, SAMPLER, steps=[2, 1], num_tasks=50)
    assert list(curve) == [0, 1, 2]
    assert curve[2]["mse"].mean < curve[1]["mse"].mean < curve[0]["mse"].mean


@pytest.mark.parametrize(
    "make",
    [
        partial(jm.maml, inner_optimizer=optax.adam(0.05)),
        partial(jm.anil, inner_optimizer=optax.sgd(0.1, momentum=0.9)),
        pytest.param(partial(jm.reptile, inner_optimizer=optax.sgd(0.1)), marks=pytest.mark.slow),
        pytest.param(jm.meta_sgd, marks=pytest.mark.slow),
    ],
    ids=["maml", "anil", "reptile", "meta_sgd"],
)
def test_adaptation_curve_runs_the_loop_once_and_has_every_row(make):
    make = partial(make, jm.from_linen(KINDS["regression"].net), jm.losses.mse)
    meta = jm.init(make(num_steps=1), SAMPLER, optax.sgd(0.1), key=KEY).meta
    made = []
    counted = lambda num_steps: (made.append(num_steps), make(num_steps=num_steps))[1]
    curve = jm.adaptation_curve(counted, meta, SAMPLER, steps=3, num_tasks=5)
    assert list(curve) == [0, 1, 2, 3] and made == [3]
    for k in (0, 2):
        alone = jm.evaluate(make(num_steps=k), meta, SAMPLER, num_tasks=5)["mse"]
        np.testing.assert_allclose(curve[k]["mse"][:2], alone[:2], rtol=1e-5)


def test_adaptation_curve_of_a_loop_that_cannot_be_recorded_runs_every_row():
    """Members are mapped, so their iterates do not leave the map."""
    one = partial(jm.maml, jm.from_linen(KINDS["regression"].net), jm.losses.mse, inner_optimizer=optax.sgd(0.1))
    make = lambda num_steps: jm.bagging(one(num_steps=num_steps), num_members=2)
    meta = jm.init(make(num_steps=1), SAMPLER, optax.sgd(0.1), key=KEY).meta
    curve = jm.adaptation_curve(make, meta, SAMPLER, steps=[2], num_tasks=3)
    assert list(curve) == [0, 2] and curve[2]["mse"].mean < curve[0]["mse"].mean


def test_nan_is_no_class_and_decides_nothing():
    sampler = KINDS["classification"].sampler
    learner = LEARNER._replace(
        adapt=lambda meta, support, key=None: jnp.nan, predict=lambda meta, adapted, x, key=None: adapted * x[:, :3]
    )
    found = jm.evaluate(learner, META, sampler, num_tasks=4)["accuracy"]
    assert np.isnan(found.mean) and np.isnan(found.ci95) and found.transductive is None
    assert "transductive" not in str(found)


def test_where_no_metric_fits_there_is_a_word():
    net = jm.from_functions(lambda key, x: jnp.zeros((4, 1)), lambda v, x: x @ v.params)
    learner = jm.maml(net, lambda o, y: optax.sigmoid_binary_cross_entropy(o[:, 0], jnp.float32(y)), num_steps=1)
    sampler = lambda key: jax.tree.map(lambda a: a, KINDS["classification"].sampler(key))
    plain = lambda key: jm.Task(*(b._replace(ways=None) for b in sampler(key)))
    meta = jm.Variables(jnp.zeros((4, 1)))
    with pytest.warns(UserWarning, match=r"No default metric fits the outputs float32\[12, 1\] and the targets int32"):
        assert jm.evaluate(learner, meta, plain, num_tasks=2) == {}


def test_an_environment_is_measured_on_predictions_by_metrics_of_its_own():
    learner = bandit_learner()
    meta = jm.init(learner, bandit, optax.sgd(0.1), key=KEY).meta
    assert list(jm.evaluate(learner, meta, bandit, num_tasks=3)) == ["reward"]
    metrics = {"sum": lambda policy, environment, weight: policy.sum() + 0 * environment["arms"].sum()}
    np.testing.assert_allclose(jm.evaluate(learner, meta, bandit, num_tasks=3, metrics=metrics)["sum"].mean, 1.0, 1e-6)


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


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ({"num_tasks": 0}, ValueError, "`num_tasks` must be at least 1, got 0"),
        ({"num_tasks": 1.5}, ValueError, "`num_tasks` must be at least 1, got 1.5"),
        ({"metrics": [jm.losses.mse]}, TypeError, "`metrics` must be a mapping .* got list"),
        ({"metrics": {}}, ValueError, "`metrics` needs at least one function"),
        ({"metrics": {"mse": 1}}, ValueError, "functions only"),
        ({"meta": jm.init(LEARNER, SAMPLER, optax.sgd(0.1), key=KEY)}, TypeError, "`state.meta`"),
        ({"sampler": lambda key: tuple(SAMPLER(key))}, TypeError, "must be a `jaxmeta.Task`, got tuple"),
    ],
)
def test_errors(arguments, error, text):
    with pytest.raises(error, match=text):
        jm.evaluate(**{"learner": LEARNER, "meta": META, "sampler": SAMPLER, "num_tasks": 2, **arguments})
    with pytest.raises(ValueError, match="`steps` must be numbers of inner steps"):
        jm.adaptation_curve(lambda num_steps: LEARNER, META, SAMPLER, steps=[-1], num_tasks=2)


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
