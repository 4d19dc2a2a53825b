"""Replay: a uniform sample of the stream, reproducible bit for bit; what an update is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, MetaLearner, Task, Variables
from jaxmeta.algorithms._replay import empty, recall, remember
from jaxmeta.types import Aux

CAPACITY, LENGTH, RUNS = 8, 40, 3_000
SGD = optax.sgd(0.1)


def sampler(key) -> Task:
    x = jax.random.normal(key, (2, 1))
    return Task(Batch(x, x), Batch(x, x))


def mean_learner() -> MetaLearner:
    """Its parameter follows the tasks' mean: the gradient is p - mean of the batch; the metric says what it saw."""

    def loss(meta, task, key=None):
        c = task.query.x.mean()
        return 0.5 * jnp.sum((meta.params - c) ** 2), Aux((), {"loss": c})

    return MetaLearner(lambda key, task: Variables(jnp.zeros(1)), lambda m, s, key=None: (), lambda *a: None, loss)


LEARNER = mean_learner()


def values_of(tasks):
    return np.asarray(tasks.query.x.mean((1, 2)))


def test_the_memory_is_a_uniform_sample_of_the_stream():
    """Each of 40 items is kept with probability 8 / 40, pairs together with 8 * 7 / (40 * 39)."""

    def run(key):
        memory = empty(jnp.zeros((), jnp.int32), CAPACITY)
        for i, k in enumerate(jax.random.split(key, 5)):
            memory = remember(memory, 8 * i + jnp.arange(8, dtype=jnp.int32), k)
        return memory.tasks

    kept = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), RUNS)))  # [RUNS, CAPACITY]
    assert all(len(set(row)) == CAPACITY for row in kept[:200])
    p = CAPACITY / LENGTH
    counts = np.bincount(kept.ravel(), minlength=LENGTH)
    assert np.abs(counts - RUNS * p).max() < 4 * np.sqrt(RUNS * p * (1 - p))
    chi2 = ((counts - RUNS * p) ** 2).sum() / (RUNS * p * (1 - p)) * (LENGTH - 1) / LENGTH
    assert 19 < chi2 < 66  # 39 degrees of freedom: between the 0.3 % and 99.6 % quantiles
    together = np.mean([(0 in row) and (39 in row) for row in kept])
    np.testing.assert_allclose(together, CAPACITY * (CAPACITY - 1) / LENGTH / (LENGTH - 1), atol=0.015)


def test_it_fills_in_order_and_recalls_what_is_there():
    memory = remember(empty(jnp.zeros(()), 5), jnp.array([3.0, 4.0]), jax.random.key(0))
    np.testing.assert_array_equal(memory.tasks, [3, 4, 0, 0, 0])
    drawn = np.asarray(recall(memory, jax.random.key(1), 400))
    assert set(drawn) == {3.0, 4.0} and abs((drawn == 3).mean() - 0.5) < 0.1


def fit(state, num_steps, **options):
    made = jm.replay(LEARNER, SGD, sampler, **{"capacity": 6, "num_replayed": 2, **options})
    state = jm.init(LEARNER, sampler, made.optimizer, key=jax.random.key(3)) if state is None else state
    options = {"num_steps": num_steps, "tasks_per_step": 3, "step": made.step, "log_every": 4}
    return jm.fit(LEARNER, sampler, made.optimizer, state, **options)


def test_resumed_it_is_the_same_bit_for_bit():
    whole, history = fit(None, 7)
    again, second = fit(fit(None, 3)[0], 7)
    jax.tree.map(np.testing.assert_array_equal, whole[:3], again[:3])
    assert int(whole.opt_state.memory.seen) == 21
    assert second["step"][0] == 4 and (history["loss"][3:] == second["loss"]).all()


def test_an_update_is_made_of_new_and_remembered_tasks():
    """p' = p - a (p - mean): the mean says which tasks were in the update."""
    optimizer, step = jm.replay(LEARNER, SGD, sampler(jax.random.key(0)), capacity=1, num_replayed=3)
    state = jm.init(LEARNER, sampler, optimizer, key=jax.random.key(0))
    tasks = jax.vmap(sampler)(jax.random.split(jax.random.key(5), 1))
    new, metrics = jax.jit(step)(state, tasks)  # capacity 1: the memory is this task
    np.testing.assert_allclose(metrics["loss"], values_of(tasks)[0], rtol=1e-6)
    np.testing.assert_allclose(new.meta.params, 0.1 * values_of(tasks), rtol=1e-6)
    np.testing.assert_array_equal(new.opt_state.memory.tasks.query.x, tasks.query.x)
    assert int(new.step) == 1 and (jax.random.key_data(new.key) == jax.random.key_data(state.key)).all()


def test_without_replayed_tasks_it_is_meta_step():
    optimizer, step = jm.replay(LEARNER, SGD, sampler, capacity=4, num_replayed=0)
    tasks = jax.vmap(sampler)(jax.random.split(jax.random.key(5), 3))
    state = jm.init(LEARNER, sampler, optimizer, key=jax.random.key(0))
    plain = jm.meta_step(LEARNER, SGD)(jm.init(LEARNER, sampler, SGD, key=jax.random.key(0)), tasks)[0]
    np.testing.assert_allclose(step(state, tasks)[0].meta.params, plain.meta.params, rtol=1e-6)
    grads = jnp.ones(1)
    updates, after = optimizer.update(grads, state.opt_state, state.meta.params)
    np.testing.assert_allclose(updates, -0.1 * grads, rtol=1e-6)
    assert int(after.memory.seen) == 0


def test_following_the_leader_goes_to_the_mean_of_all_tasks_seen():
    """Updates on draws from the whole stream: after many, the parameter is the stream's mean, old tasks included."""
    made = jm.replay(
        LEARNER, optax.sgd(0.02), sampler, capacity=20, num_replayed=10, include_new=False, num_updates=400
    )
    state = jm.init(LEARNER, sampler, made.optimizer, key=jax.random.key(0))
    step = jax.jit(made.step)
    shifted = lambda i: jax.tree.map(lambda a: a + 4.0 * i, jax.vmap(sampler)(jax.random.split(jax.random.key(i), 10)))
    for i in range(2):
        state, _ = step(state, shifted(i))
    everything = np.concatenate([values_of(shifted(i)) for i in range(2)])
    np.testing.assert_allclose(np.sort(values_of(state.opt_state.memory.tasks)), np.sort(everything), rtol=1e-5)
    np.testing.assert_allclose(state.meta.params[0], everything.mean(), atol=0.3)


def test_several_seeds_have_a_memory_each():
    made = jm.replay(LEARNER, SGD, sampler, capacity=4, num_replayed=2)
    states = jm.init(LEARNER, sampler, made.optimizer, key=jax.random.split(jax.random.key(0), 2))
    states, _ = fit(states, 2, capacity=4)
    assert states.opt_state.memory.seen.tolist() == [6, 6]
    first, second = states.opt_state.memory.tasks.query.x
    assert float(jnp.abs(first - second).max()) > 0


@pytest.mark.parametrize(
    "options, text",
    [
        ({"capacity": 0}, "got 0, 1 and 2"),
        ({"num_replayed": -1}, "got 6, 1 and -1"),
        ({"num_replayed": 0, "include_new": False}, "nothing to train on"),
    ],
)
def test_errors(options, text):
    with pytest.raises(ValueError, match=text):
        jm.replay(LEARNER, SGD, sampler, **{"capacity": 6, "num_replayed": 2, **options})
