"""Defaults that follow from the program and the machine."""

import logging
import re

import jax
import jax.numpy as jnp
import optax
import pytest
from registry import KEY, stack

import jaxmeta as jm
from jaxmeta import defaults
from jaxmeta.defaults import has_convolution, kernels_adapt


def SAMPLER(key):  # noqa: N802
    batch = jm.Batch(jax.random.normal(key, (2, 8, 8, 1)), jnp.arange(2), ways=jnp.ones(2, bool))
    return jm.Task(batch, batch)


CONV = jm.from_linen(jm.backbones.Conv4(num_outputs=2, features=2))
EMBEDDING = jm.from_linen(jm.backbones.Conv4(features=2))
MLP = jm.from_linen(jm.backbones.MLP((4,), num_outputs=2))
STOCK = jm.from_functions(
    lambda key, x: jm.Variables({"kernel": 0.1 * jax.random.normal(key, (8, 8, 1, 2))}),
    lambda variables, x, *, key=None: jax.lax.conv_general_dilated(
        x, variables.params["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[:, 0, 0],
)
LOSS = jm.losses.cross_entropy
LEARNERS = {
    "maml": (jm.maml(CONV, LOSS, num_steps=1), True),
    "first order": (jm.maml(CONV, LOSS, num_steps=1, first_order=True), True),
    "reptile": (jm.reptile(CONV, LOSS, num_steps=2), True),
    "stock convolution": (jm.maml(STOCK, LOSS, num_steps=1), True),
    "anil": (jm.anil(CONV, LOSS, num_steps=1), False),
    "protonet": (jm.protonet(EMBEDDING), False),
    "perceptron": (jm.maml(MLP, LOSS, num_steps=1), False),
}


def shapes(learner):
    task = jax.eval_shape(SAMPLER, KEY)
    return jax.eval_shape(learner.init, KEY, task), task


@pytest.mark.parametrize("name", LEARNERS)
def test_whether_kernels_adapt_is_seen_in_the_loss(name):
    learner, adapt = LEARNERS[name]
    assert kernels_adapt(learner, *shapes(learner)) == adapt
    traced = jax.make_jaxpr(learner.loss)(*shapes(learner), KEY)
    assert has_convolution(traced.jaxpr) == (name != "perceptron")


@pytest.mark.parametrize("name, chunk", [("stock convolution", 1), ("protonet", None)])
def test_a_cpu_takes_one_task_at_a_time_where_kernels_adapt(name, chunk):
    learner, optimizer = LEARNERS[name][0], optax.sgd(0.1)
    state = jax.eval_shape(lambda: jm.init(learner, SAMPLER, optimizer, key=KEY))
    tasks = jax.eval_shape(lambda: stack(SAMPLER, 4))
    program = lambda **options: re.sub(
        "0x[0-9a-f]+", "", str(jax.make_jaxpr(jm.meta_step(learner, optimizer, **options))(state, tasks))
    )
    assert program() == program(chunk="auto") == program(chunk=chunk)
    assert program() != program(chunk=2)


def test_training_takes_the_devices_that_divide_the_tasks(monkeypatch):
    maml, protonet = LEARNERS["maml"][0], LEARNERS["protonet"][0]
    mesh = lambda learner, tasks: defaults.chosen_mesh("auto", tasks, learner, *shapes(learner))
    assert mesh(maml, 4) is None  # `jax_default_device` is set in tests
    with jax.default_device(None):
        assert mesh(maml, 4).size == 2 and mesh(maml, 3) is None and mesh(protonet, 4) is None
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        assert mesh(protonet, 4).size == 2


def test_fit_spreads_by_default():
    learner, optimizer = LEARNERS["stock convolution"][0], optax.sgd(0.1)
    state = jm.init(learner, SAMPLER, optimizer, key=KEY)
    with jax.default_device(None):
        state, _ = jm.fit(learner, SAMPLER, optimizer, state, num_steps=1, tasks_per_step=2)
        assert defaults.all_devices().size == 2
    assert len(jax.tree.leaves(state.meta)[0].sharding.device_set) == 2
    assert defaults.all_devices() is None


def test_idle_cores_are_named_once(monkeypatch, caplog):
    monkeypatch.setattr(defaults, "num_cores", lambda: 8)
    monkeypatch.setattr(jax, "devices", lambda: [None])
    defaults._recommend.cache_clear()
    with caplog.at_level(logging.WARNING):
        for name in ("protonet", "perceptron", "maml", "maml"):
            learner = LEARNERS[name][0]
            defaults.recommend_cores(4, learner, *shapes(learner))
    assert caplog.text.count("`jaxmeta.parallel.use_cores()`") == 1 and "8 cores" in caplog.text


def test_cores_are_devices_only_before_the_first_array():
    jnp.zeros(1)
    assert jm.parallel.use_cores(2) == 2  # as many as there are
    with pytest.raises(RuntimeError, match="comes too late to make 3 devices"):
        jm.parallel.use_cores(3)
    with pytest.raises(ValueError, match="`num` must be at least 1"):
        jm.parallel.use_cores(0)
