"""The laws of `testing` find the learner that breaks each of them, and pass one that breaks none."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from registry import KINDS, build, classification, regression

import jaxmeta as jm
from jaxmeta import Batch, Task, testing
from jaxmeta.types import Aux, MetaLearner, Variables

KEY = jax.random.key(0)


def means(*, of_weight=lambda w: w, total=lambda w: jnp.maximum(w, 1.0)) -> MetaLearner:
    """Prototypes of scaled inputs by hand, with the two places where a newcomer errs left open."""

    def init(key, task):
        return Variables({"scale": jnp.full(4, 0.1)})

    def adapt(meta, support, key=None, *, train=False):
        weight = jnp.ones(len(support.y)) if support.weight is None else support.weight
        mine = jax.nn.one_hot(support.y, len(support.ways)) * of_weight(weight)[:, None]
        return mine.T @ (support.x * meta.params["scale"][None]) / total(mine.sum(0))[:, None], support.ways

    def forward(meta, adapted, x, key=None, *, train=False, weight=None):
        prototypes, ways = adapted
        distance = jnp.sum((x[:, None] * meta.params["scale"][None, None] - prototypes[None]) ** 2, -1)
        return jnp.where(ways[None], -distance, -1e9), ()

    return jm.episodic(init, adapt, forward, jm.losses.cross_entropy)


def stateful() -> MetaLearner:
    """Counts its traces outside its arguments."""
    calls = []

    def loss(meta, task, key):
        calls.append(key)
        return len(calls) * jnp.sum(meta.params**2), Aux(meta.state, {})

    return means()._replace(init=lambda key, task: Variables(jnp.ones(2)), loss=loss)


def with_loss(change) -> MetaLearner:
    learner = means()
    return learner._replace(loss=lambda meta, task, key: change(meta, *learner.loss(meta, task, key)))


BROKEN = {
    "jit": (stateful(), "jit changes"),
    "vmap": (with_loss(lambda meta, value, aux: (value / 0.0, aux)), "not finite"),
    "padding": (means(of_weight=jnp.ones_like), "weight 0 change"),
    "nothing": (means(total=lambda w: w), "NaN or infinite"),
    "queries": (jm.soft_kmeans(jm.identity()), "other queries"),
    "learns": (with_loss(lambda meta, value, aux: (jax.lax.stop_gradient(value), aux)), "took the error"),
}


def others(name):
    return [law for law in BROKEN if law != name]


@pytest.mark.parametrize("name", BROKEN)
def test_each_law_finds_what_breaks_it(name):
    learner, message = BROKEN[name]
    with pytest.raises(AssertionError, match=message):
        testing.check_learner(learner, classification, skip=others(name), num_steps=3)


def test_a_sound_learner_keeps_all_laws(capsys):
    outcomes = testing.check_learner(means(), classification, skip=["nothing"], verbose=True)
    assert outcomes == dict.fromkeys(BROKEN, "holds") | {"nothing": "skipped"}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[name, outcome] for name, outcome in outcomes.items()]
    assert "change neither the loss nor the meta-gradient" in lines[2]


def test_the_law_that_fails_is_shown(capsys):
    with pytest.raises(AssertionError, match="weight 0 change"):
        testing.check_learner(BROKEN["padding"][0], classification, skip=others("padding"), verbose=True)
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["padding", "FAILS"]


def test_a_task_that_reaches_another_is_found():
    """Under `vmap` a loss may see its neighbours through `axis_name`-less batching rules: here through a custom one."""

    @jax.custom_batching.custom_vmap
    def neighbourly(x):
        return x

    @neighbourly.def_vmap
    def _(axis_size, in_batched, x):
        return jnp.broadcast_to(x.mean(0, keepdims=True), x.shape) if in_batched[0] else x, in_batched[0]

    learner = means()
    leaky = lambda meta, task, key: learner.loss(
        meta, task._replace(query=task.query._replace(x=neighbourly(task.query.x))), key
    )
    with pytest.raises(AssertionError, match="one by one"):
        testing.check_learner(learner._replace(loss=leaky), classification, skip=others("vmap"))


def test_padding_of_integers_and_of_pytrees_keeps_their_kind():
    tasks = jax.vmap(KINDS["pairs"].sampler)(jax.random.split(KEY, 2))
    tokens = Task(*(Batch({"id": jnp.zeros((2, 5, 3), jnp.int32)}, batch.y) for batch in tasks))
    seen = []

    def loss(meta, task, key):
        seen.append(task.query)
        return jnp.sum(meta.params**2), Aux((), {})

    learner = means()._replace(loss=loss)
    state = jm.MetaState(jnp.zeros((), jnp.int32), Variables(jnp.ones(2)), (), KEY)
    testing.padding_is_invisible(learner, state, tokens)
    plain, padded = seen
    assert plain.x["id"].shape == (5, 3) and padded.x["id"].shape == (8, 3) and padded.x["id"].dtype == jnp.int32
    assert padded.weight.shape == (8,)


def test_what_has_no_batches_is_held_to_two_laws():
    from registry import bandit, bandit_learner

    testing.check_learner(bandit_learner(), bandit)


def test_an_error_of_ones_own_has_to_fall():
    learner = build("maml", "regression")
    grows = lambda outputs, y: -jm.losses.mse(outputs, y)
    with pytest.raises(AssertionError, match="took the error"):
        testing.error_falls(learner, regression, optimizer=optax.adam(1e-2), num_steps=20, loss_fn=grows)


def test_an_unknown_law_is_named():
    with pytest.raises(ValueError, match=r"`skip` names \['leaks'\]"):
        testing.check_learner(means(), classification, skip=["leaks"])


def test_the_tolerance_is_that_of_the_caller():
    testing.assert_close(np.ones(2), np.ones(2) + 1e-3, 1e-2)
    with pytest.raises(AssertionError, match="because"):
        testing.assert_close(np.ones(2), np.ones(2) + 1e-3, 1e-4, "because")
