"""Laws times the registry: every algorithm on every kind of task, one test a law, no algorithm named in a test."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import CASES, CORE, KEY, KINDS, LEARNERS, bandit, bandit_learner, build, stack, tiers

import jaxmeta as jm
from jaxmeta import testing

pytestmark = pytest.mark.heavy
TASKS = 4
cases = pytest.mark.parametrize("learner_name, kind_name", tiers(CASES))
learners = pytest.mark.parametrize(
    "learner_name", [name if name in CORE else pytest.param(name, marks=pytest.mark.slow) for name in LEARNERS]
)


@cache
def setup(learner_name, kind_name, **net_options):
    """Learner, tasks and first state; made once for all laws, which leave them as they are."""
    learner, kind = build(learner_name, kind_name, **net_options), KINDS[kind_name]
    tasks = stack(kind.sampler, TASKS)
    state = jm.init(learner, jax.tree.map(lambda a: a[0], tasks), LEARNERS[learner_name].optimizer, key=KEY)
    return learner, tasks, state


@cases
def test_a_step_is_finite_compiles_once_and_is_the_mean_over_tasks(learner_name, kind_name):
    """All tasks at once under `vmap` give what they give one by one."""
    learner, tasks, state = setup(learner_name, kind_name)
    testing.same_task_by_task(learner, state, tasks)


@learners
def test_jit_equals_eager(learner_name):
    learner, tasks, state = setup(learner_name, LEARNERS[learner_name].kind)
    testing.same_under_jit(learner, state, tasks)


# A mini-batch is drawn from all rows: padding changes which ones.
PADDED = [c for c in CASES if c[1] in (LEARNERS[c[0]].kind, "tokens") and c[0] != "reptile_adam"]


@pytest.mark.parametrize("learner_name, kind_name", tiers(PADDED))
@pytest.mark.usefixtures("x64")
def test_padding_is_invisible(learner_name, kind_name):
    """Every set padded from n to n + 3 rows of garbage with weight 0: the same loss and meta-gradient."""
    learner, tasks, state = setup.__wrapped__(learner_name, kind_name, norm=True)  # in float64
    wide = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, tree)
    state = state._replace(meta=wide(state.meta))
    testing.padding_is_invisible(learner, state, wide(tasks), tolerance=1e-10)


def content(batch, fill, label):
    """Three more rows of weight 0 that hold ``fill``, and ``label`` as their targets; other hidden places too."""
    batch = testing._pad(batch, 3)
    hidden = lambda a: (batch.weight == 0).reshape(batch.weight.shape + (1,) * (a.ndim - batch.weight.ndim))
    value = lambda a, number: jnp.asarray(number if jnp.issubdtype(a.dtype, jnp.inexact) else label, a.dtype)
    put = lambda a: jnp.where(hidden(a), value(a, fill), a)
    return batch._replace(x=jax.tree.map(put, batch.x), y=jax.tree.map(put, batch.y))


@pytest.mark.parametrize("learner_name, kind_name", tiers(PADDED))
def test_what_has_weight_zero_does_not_exist(learner_name, kind_name):
    """NaN in hidden rows changes neither loss, gradient nor predictions."""
    learner, tasks, state = setup(learner_name, kind_name)

    @jax.jit
    def results(params, task):
        meta = state.meta._replace(params=params)
        loss = lambda params: learner.loss(meta._replace(params=params), task, KEY)[0]
        outputs = learner.predict(meta, learner.adapt(meta, task.support), task.query.x, weight=task.query.weight)
        shown = lambda a: jnp.where((task.query.weight != 0).reshape(a.shape[:-1] + (1,)), a, 0)
        return jax.value_and_grad(loss)(params), jax.tree.map(shown, outputs)

    first = lambda fill, label: jax.tree.map(lambda a: a[0], jm.Task(*(content(b, fill, label) for b in tasks)))
    plain, spoilt = (results(state.meta.params, first(*values)) for values in ((1.0, 0), (jnp.nan, -100)))
    assert testing.all_finite(plain)
    testing.assert_close(spoilt, plain, 1e-6)


@learners
def test_nothing_to_learn_from_is_zero_and_never_nan(learner_name):
    """All weights zero and a class absent, then only the latter: loss and meta-gradient stay finite."""
    learner, tasks, state = setup(learner_name, LEARNERS[learner_name].kind, norm=True)
    testing.finite_without_examples(learner, state, tasks)


@learners
def test_dropout_follows_the_key_in_training_only(learner_name):
    learner, tasks, state = setup(learner_name, LEARNERS[learner_name].kind, dropout=0.5)
    task = jax.tree.map(lambda a: a[0], tasks)
    loss = jax.jit(lambda key: learner.loss(state.meta, task, key)[1].metrics["loss"])
    assert loss(jax.random.key(1)) == loss(jax.random.key(1)) != loss(jax.random.key(2))
    adapted = learner.adapt(state.meta, task.support)
    outputs = [learner.predict(state.meta, adapted, task.query.x, key) for key in (None, jax.random.key(1))]
    np.testing.assert_array_equal(*outputs)


@learners
def test_bfloat16_parameters_stay_bfloat16(learner_name):
    learner, tasks, state = setup(learner_name, LEARNERS[learner_name].kind)
    halve = lambda tree: jax.tree.map(lambda a: a.astype(jnp.bfloat16) if a.dtype == jnp.float32 else a, tree)
    meta, sgd = halve(state.meta), optax.sgd(0.1)
    state = state._replace(meta=meta, opt_state=sgd.init(meta.params))
    new, metrics = jax.jit(jm.meta_step(learner, sgd))(state, halve(tasks))
    assert {leaf.dtype for leaf in jax.tree.leaves(new.meta.params)} == {jnp.dtype(jnp.bfloat16)}
    assert metrics["skipped"] == 0


LEARNING = [c for c in CASES if c[1] == LEARNERS[c[0]].kind or c[0] == "maml"]


@pytest.mark.parametrize("learner_name, kind_name", tiers(LEARNING))
def test_learns(learner_name, kind_name):
    """The error after adaptation falls, on tasks that were not trained on."""
    learner, kind, optimizer = build(learner_name, kind_name), KINDS[kind_name], LEARNERS[learner_name].optimizer
    train, test = LEARNERS[learner_name].world or (kind.sampler, kind.sampler)
    testing.error_falls(learner, train, test, optimizer=optimizer, loss_fn=kind.loss_fn)


def test_an_environment_is_a_task_too():
    learner, optimizer = bandit_learner(), optax.adam(0.1)
    state = jm.init(learner, bandit, optimizer, key=KEY)
    trained, history = jm.fit(learner, bandit, optimizer, state, num_steps=100, tasks_per_step=16)
    reward = lambda state: jm.evaluate(learner, state.meta, bandit, num_tasks=256)["reward"].mean
    assert reward(trained) > reward(state) + 0.02
    assert history["reward"].shape == (100,)
