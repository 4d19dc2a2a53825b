"""The outer step: identity of tasks, skipped updates, estimators, and what it says about bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import KEY, KINDS, Net, bandit_learner, build, classification, stack

import jaxmeta as jm
from jaxmeta import Batch, MetaLearner, Task, Variables
from jaxmeta.step import draw_tasks, task_keys
from jaxmeta.types import Aux

MODEL = jm.from_linen(Net())


def test_a_task_is_its_seed_step_and_index():
    """k = fold_in(key, step); k_data, k_learn = split(k); task i is drawn with fold_in(k_data, i)."""
    learner = build("maml", "regression")
    state = jm.init(learner, KINDS["regression"].sampler, optax.sgd(0.1), key=KEY)._replace(step=jnp.int32(7))
    k_data, _ = jax.random.split(jax.random.fold_in(KEY, 7))
    expected = [KINDS["regression"].sampler(jax.random.fold_in(k_data, i)) for i in range(3)]
    drawn = draw_tasks(KINDS["regression"].sampler, state, 3)
    jax.tree.map(np.testing.assert_array_equal, drawn, jax.tree.map(lambda *a: jnp.stack(a), *expected))
    fewer = draw_tasks(KINDS["regression"].sampler, state, 2)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:2], b), drawn, fewer)


def test_the_key_never_changes_and_every_task_learns_with_its_own():
    seen = lambda meta, task, key: (jnp.sum(meta.params * 0.0), Aux((), {"u": jax.random.uniform(key)}))
    learner = MetaLearner(lambda key, task: Variables(jnp.zeros(1)), None, None, seen)  # type: ignore[arg-type]
    state = jm.init(learner, classification, optax.sgd(0.1), key=KEY)
    step = jm.meta_step(learner, optax.sgd(0.1))
    new, metrics = step(state, stack(classification, 5))
    _, k_learn = jax.random.split(jax.random.fold_in(KEY, 0))
    expected = np.mean([jax.random.uniform(k) for k in task_keys(k_learn, 5)])
    np.testing.assert_allclose(metrics["u"], expected, rtol=1e-6)
    assert (jax.random.key_data(new.key) == jax.random.key_data(KEY)).all()
    assert step(new, stack(classification, 5))[1]["u"] != metrics["u"]


def test_a_step_that_is_not_finite_is_left_out_whole():
    learner = build("maml", "regression")
    adam = optax.adam(0.1)
    tasks = stack(KINDS["regression"].sampler, 3)
    state = jm.init(learner, KINDS["regression"].sampler, adam, key=KEY)
    bad = tasks._replace(query=tasks.query._replace(y=tasks.query.y.at[1, 0].set(jnp.nan)))
    new, metrics = jax.jit(jm.meta_step(learner, adam))(state, bad)
    jax.tree.map(np.testing.assert_array_equal, (new.meta, new.opt_state), (state.meta, state.opt_state))
    assert metrics["skipped"] == 1 and int(new.step) == 1
    assert jm.meta_step(learner, adam)(new, tasks)[1]["skipped"] == 0


def test_an_update_that_is_not_finite_is_left_out_though_its_gradient_is():
    """A gradient of 1e25 is finite, its square in Adam's memory is not."""
    learner = build("maml", "regression")
    adam = optax.adam(0.1)
    state = jm.init(learner, KINDS["regression"].sampler, adam, key=KEY)
    huge = lambda mean_loss: (
        lambda *args: (jax.tree.map(lambda p: jnp.full_like(p, 1e25), args[0]), mean_loss(*args)[1])
    )
    new, metrics = jax.jit(jm.meta_step(learner, adam, gradient=huge))(state, stack(KINDS["regression"].sampler, 3))
    assert metrics["skipped"] == 1
    jax.tree.map(np.testing.assert_array_equal, (new.meta, new.opt_state), (state.meta, state.opt_state))


def test_an_estimator_of_ones_own():
    """Antithetic evolution strategies through `gradient=` point where backpropagation does."""

    def antithetic(mean_loss, sigma=0.05, pairs=512):
        def grad_fn(params, state, tasks, keys):
            flat, unravel = jax.flatten_util.ravel_pytree(params)
            noise = jax.random.normal(jax.random.key(3), (pairs, flat.size))
            value = lambda e: mean_loss(unravel(flat + sigma * e), state, tasks, keys)[0]
            slope = (jax.vmap(value)(noise) - jax.vmap(value)(-noise)) / (2 * sigma)
            return unravel((slope[:, None] * noise).mean(0)), mean_loss(params, state, tasks, keys)[1]

        return grad_fn

    learner, sgd = bandit_learner(), optax.sgd(1.0)
    from registry import bandit

    tasks = stack(bandit, 16)
    state = jm.init(learner, bandit, sgd, key=KEY)
    exact, _ = jax.jit(jm.meta_step(learner, sgd))(state, tasks)
    estimated, _ = jax.jit(jm.meta_step(learner, sgd, gradient=antithetic))(state, tasks)
    moved = lambda new: (
        jax.flatten_util.ravel_pytree(new.meta.params)[0] - jax.flatten_util.ravel_pytree(state.meta.params)[0]
    )
    a, b = moved(exact), moved(estimated)
    assert float(a @ b / jnp.linalg.norm(a) / jnp.linalg.norm(b)) > 0.9


def test_variable_ways_train_one_head():
    """Absent ways get the lowest finite logit, so they take no probability and no gradient."""
    learner = build("maml", "classification")
    ways = jnp.array([True, True, False])
    task = jax.tree.map(lambda a: a, classification(KEY))
    keep = lambda batch: Batch(batch.x, batch.y, (batch.y < 2).astype(jnp.float32), ways)
    task = Task(keep(task.support), keep(task.query))
    meta = learner.init(KEY, task)
    outputs = learner.predict(meta, learner.adapt(meta, task.support), task.query.x)
    assert bool((outputs[:, 2] == jnp.finfo(jnp.float32).min).all()) and bool((outputs.argmax(-1) < 2).all())
    grads = jax.grad(lambda p: learner.loss(Variables(p, meta.state), task, KEY)[0])(meta.params)
    assert bool(grads["head"]["bias"][2] == 0) and bool(jnp.isfinite(grads["head"]["kernel"]).all())


def test_prototypes_train_and_test_with_different_ways():
    learner = jm.protonet(jm.from_linen(jm.backbones.MLP((8,))))
    sampler = lambda ways: jm.tasks.glyphs(num_ways=ways, num_shots=1, num_queries=1, size=14)
    state = jm.init(learner, sampler(8), optax.sgd(0.1), key=KEY)
    assert jm.evaluate(learner, state.meta, sampler(3), num_tasks=4)["accuracy"].num_tasks == 4


def _task(**changes):
    task = classification(KEY)
    return task._replace(support=task.support._replace(**changes))


@pytest.mark.parametrize(
    "task, text",
    [
        (_task(y=jnp.zeros(4, jnp.int32)), "`task.support` has 6 inputs but 4 targets"),
        (_task(y=jnp.full(6, 3)), "`task.support.y` has labels from 3 to 3, but `ways` has length 3"),
        (_task(y=jnp.full(6, -1)), "`task.support.y` has labels from -1 to -1"),
        (_task(x=jnp.full((6, 4), jnp.nan)), "`task.support.x` holds NaN"),
        (_task(ways=jnp.ones(7, bool)), "The model gives 3 logits but the task has 7 ways"),
        (_task(weight=jnp.ones(4)), "`task.support.weight` has shape"),
    ],
    ids=["lengths", "label too large", "negative label", "nan", "more ways than outputs", "weight"],
)
def test_bad_tasks_are_named_before_training(task, text):
    learner = jm.maml(MODEL, jm.losses.cross_entropy)
    with pytest.raises(ValueError, match=text):
        jm.init(learner, task, optax.sgd(0.1), key=KEY)


def test_other_errors():
    learner = build("maml", "classification")
    with pytest.raises(TypeError, match="`key` must be a typed key"):
        jm.init(learner, classification, optax.sgd(0.1), key=0)  # type: ignore[arg-type]
    state = jm.init(learner, classification, optax.sgd(0.1), key=KEY)
    with pytest.raises(ValueError, match="`chunk` must divide the 4 tasks of a step, got 3"):
        jm.meta_step(learner, optax.sgd(0.1), chunk=3)(state, stack(classification, 4))
    with pytest.raises(ValueError, match="The number of ways is unknown"):
        support = classification(KEY).support._replace(ways=None)
        jm.protonet(MODEL).adapt(MODEL.init(KEY, support.x), support)
    with pytest.raises(ValueError, match="`distance` must be one of"):
        jm.protonet(MODEL, distance="manhattan")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`adapt_only` chooses none of the parameters.*body/kernel"):
        jm.anil(MODEL, jm.losses.cross_entropy, head="top").adapt(state.meta, classification(KEY).support)
    with pytest.raises(ValueError, match="`num_steps` must be >= 0, got -2"):
        jm.maml(MODEL, jm.losses.cross_entropy, num_steps=-2)
    with pytest.raises(ValueError, match="`batch_size` must be 1 to 6"):
        jm.reptile(MODEL, jm.losses.cross_entropy, batch_size=9).adapt(state.meta, classification(KEY).support)


def test_a_learner_that_adapts_refuses_tasks_without_a_support_set():
    data = jm.datasets.from_arrays(np.zeros((6, 4), np.float32), np.repeat(["a", "b"], 3))
    with pytest.raises(ValueError, match="no support set .*`tasks.batches`.* Take `tasks.episodes`"):
        jm.init(build("protonet", "classification"), jm.tasks.batches(data, batch_size=4), optax.sgd(0.1), key=KEY)


def test_a_mesh_that_does_not_fit_is_refused():
    learner, sampler = build("maml", "regression"), KINDS["regression"].sampler
    with pytest.raises(ValueError, match=r"`mesh` needs an axis 'task', got the axes \('data',\)"):
        jm.meta_step(learner, optax.sgd(0.1), mesh=jax.make_mesh((2,), ("data",)))
    step = jm.meta_step(learner, optax.sgd(0.1), mesh=jax.make_mesh((2,), ("task",)))
    state = jm.init(learner, sampler, optax.sgd(0.1), key=KEY)
    with pytest.raises(ValueError, match="`mesh` has 2 devices, which must divide the 3 tasks of a step"):
        step(state, stack(sampler, 3))


def test_a_rule_sees_the_paths_of_the_state():
    seen = set()
    rule = lambda path, shape, devices: seen.add(path) or jax.sharding.PartitionSpec()
    learner, sampler = build("maml", "regression"), KINDS["regression"].sampler
    state = jm.init(learner, sampler, optax.sgd(0.1), key=KEY)
    step = jm.meta_step(learner, optax.sgd(0.1), mesh=jax.make_mesh((2,), ("task",)), shard=rule)
    jax.eval_shape(step, state, stack(sampler, 2))
    assert {path.split("/")[0] for path in seen} == {"meta", "step"}


def linear_learner():
    """One parameter, whose loss is its distance to the task's query."""

    def loss(meta, task, key):
        value = jnp.abs(meta.params - task.query.x.mean())
        return value, jm.types.Aux((), {})

    adapt = lambda meta, support, key=None: meta.params
    return jm.MetaLearner(lambda key, task: jm.Variables(jnp.zeros(())), adapt, lambda meta, p, x, key=None: p, loss)


def test_an_outer_optimizer_is_given_the_mean_loss():
    """Polyak's step with the largest rate free divides the mean loss by the squared gradient, which is 1."""
    x = jnp.array([[[3.0]], [[5.0]]])
    tasks, learner, optimizer = jm.Task(jm.Batch(x, x), jm.Batch(x, x)), linear_learner(), optax.polyak_sgd(100.0)
    state = jm.init(learner, jax.tree.map(lambda a: a[0], tasks), optimizer, key=jax.random.key(0))
    state, metrics = jm.meta_step(learner, optimizer)(state, tasks)
    np.testing.assert_allclose(state.meta.params, 4.0, rtol=1e-6)
    assert set(metrics) == {"skipped"}


def test_an_outer_optimizer_that_needs_more_is_named():
    x = jnp.ones((2, 1, 1))
    tasks, learner, optimizer = jm.Task(jm.Batch(x, x), jm.Batch(x, x)), linear_learner(), optax.lbfgs()
    state = jm.init(learner, jax.tree.map(lambda a: a[0], tasks), optimizer, key=jax.random.key(0))
    with pytest.raises(TypeError, match="`optimizer` asks for an argument that .*value_fn"):
        jm.meta_step(learner, optimizer)(state, tasks)


def _from_one(key):
    task = classification(key)
    return task._replace(query=task.query._replace(y=task.query.y + 1))


def _without_ways(key):
    task = _from_one(key)
    return jax.tree.map(lambda a: a, Task(*(batch._replace(ways=None) for batch in task)))


LINEN = jm.backbones.MLP((4,), num_outputs=3)
MAML = build("maml", "classification")
STATE = jm.init(MAML, classification, optax.adam(0.1), key=KEY)


def _init(learner=MAML, source=classification, optimizer=optax.adam(0.1)):  # noqa: B008
    return lambda: jm.init(learner, source, optimizer, key=KEY)


def _fit(state, learner=MAML, sampler=classification, **sizes):
    sizes = {"num_steps": 1, "tasks_per_step": 1, **sizes}
    return lambda: jm.fit(learner, sampler, optax.adam(0.1), state, **sizes)


@pytest.mark.parametrize(
    "call, text",
    [
        (_init(source=_from_one), "`task.query.y` has labels from 1 to 3, but `ways` has length 3"),
        (_init(source=_without_ways), "`task.query.y` has labels from 1 to 3, but there are 3 outputs"),
        (_init(source=lambda key: tuple(classification(key))), "A task must be a `jaxmeta.Task`, got tuple"),
        (_init(source=[classification]), "`task_or_sampler` must be .* got list"),
        (_init(LINEN), "`learner` is a flax module, MLP"),
        (_init(MODEL), "`learner` is a Model. Give it to an algorithm"),
        (lambda: jm.maml(LINEN, jm.losses.cross_entropy), "`model` must be a `Model`, got MLP: .*from_linen"),  # type: ignore[arg-type]
        (_init(optimizer=1e-3), "`optimizer` must be an optax optimizer .* got float"),
        (lambda: jm.meta_step(LINEN, optax.sgd(0.1)), "`learner` is a flax module"),  # type: ignore[arg-type]
        (lambda: jm.meta_step(MAML, optax.sgd(0.1), chunk=0), "`chunk` must be at least 1 task, got 0"),
        (lambda: jm.meta_step(MAML, optax.sgd(0.1))(STATE.meta, stack(classification, 2)), "give the whole `state`"),
        (lambda: jm.meta_step(MAML, optax.sgd(0.1))(STATE, [classification(KEY)]), "`tasks` must be .* got list"),
        (_fit(STATE.meta), "give the whole `state`"),
        (_fit(STATE, jm.meta_sgd(MODEL, jm.losses.cross_entropy)), "`state.meta` does not fit: .*another learner's"),
        (_fit(STATE._replace(opt_state=optax.sgd(0.1).init(STATE.meta.params))), "another optimizer's: give `fit`"),
        (_fit(STATE, num_steps=1.5), "`num_steps` must be an integer, got 1.5"),
        (_fit(STATE, max_skipped=0), "`max_skipped` must be at least 1, got 0"),
    ],
)
def test_usual_slips_are_named(call, text):
    with pytest.raises((TypeError, ValueError), match=text):
        call()
