"""Every agent learns, trains by `fit` with its own outer step, and reports returns per inner step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import rl


def point(horizon=8):
    model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=2))
    return rl.gaussian_policy(model, 2), rl.navigation(horizon=horizon)


@pytest.mark.parametrize(
    "name", ["maml_trpo", pytest.param("e_maml", marks=pytest.mark.slow), pytest.param("promp", marks=pytest.mark.slow)]
)
def test_agents_train_by_fit_and_adaptation_helps(name):
    policy, tasks = point()
    agent = getattr(rl, name)(policy, inner_optimizer=optax.sgd(0.3), num_episodes=10)
    optimizer = optax.adam(1e-3) if name == "promp" else optax.identity()
    state = jm.init(agent.learner, tasks, optimizer, key=jax.random.key(0))
    before = agent.learner.loss(state.meta, tasks(jax.random.key(1)), jax.random.key(2))[1].metrics
    state, history = jm.fit(agent.learner, tasks, optimizer, state, num_steps=4, tasks_per_step=4, step=agent.step)
    assert int(state.step) == 4 and set(before) >= {"loss", "return/0", "return/1"}
    assert np.isfinite(history["return/1"]).all()
    assert history["return/1"][-1] > history["return/0"][-1]


def test_a_trust_region_moves_within_its_bound():
    policy, tasks = point()
    agent = rl.maml_trpo(policy, inner_optimizer=optax.sgd(0.3), num_episodes=10, max_kl=0.02, kl_episodes=5)
    state = jm.init(agent.learner, tasks, optax.identity(), key=jax.random.key(0))
    new, metrics = jax.jit(agent.step)(state, jax.vmap(tasks)(jax.random.split(jax.random.key(1), 4)))
    assert 0.002 < float(metrics["trpo/kl"]) <= 0.0201 and float(metrics["trpo/gain"]) > 0
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.meta.params, new.meta.params)
    assert max(jax.tree.leaves(moved)) > 0


@pytest.mark.slow
def test_three_updates_at_test_time_are_a_second_learner_on_the_same_meta():
    policy, tasks = point()
    halved = optax.sgd(lambda count: jnp.where(count == 0, 0.3, 0.15))
    agent = rl.maml_trpo(policy, inner_optimizer=halved, num_steps=3, num_episodes=10)
    meta = agent.learner.init(jax.random.key(0), tasks(jax.random.key(0)))
    found = jm.evaluate(agent.learner, meta, tasks, num_tasks=4)
    assert {"return/0", "return/1", "return/2", "return/3"} <= set(found)
    zero = rl.maml_trpo(policy, num_steps=0, num_episodes=10)
    assert "return/0" in jm.evaluate(zero.learner, meta, tasks, num_tasks=4)


@pytest.mark.slow
def test_adapting_again_with_the_same_key_gives_the_same_policy():
    policy, tasks = point()
    learner = rl.maml_trpo(policy, num_episodes=4).learner
    task = tasks(jax.random.key(0))
    meta = learner.init(jax.random.key(1), task)
    a, b = (learner.adapt(meta, task.support, jax.random.key(2)) for _ in range(2))
    assert all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))
    assert learner.predict(meta, a, jnp.zeros((5, 2))).mean.shape == (5, 2)


def test_rl2_learns_which_arm_pays():
    """Two arms, one of which always pays: after one pull a policy with memory knows which."""
    sure = rl.environments(
        lambda key: rl.Bandit(jnp.roll(jnp.array([1.0, 0.0]), jax.random.bernoulli(key).astype(int)))
    )
    optimizer = rl.ppo_optimizer(3e-3)
    agent = rl.rl2(rl.Discrete(2), hidden=16, num_episodes=5, outer_optimizer=optimizer, num_parts=2)
    state = jm.init(agent.learner, sure, optimizer, key=jax.random.key(0))
    state, history = jm.fit(agent.learner, sure, optimizer, state, num_steps=60, tasks_per_step=64, step=agent.step)
    assert history["return"][0] < 3.0 and history["return"][-1] > 4.2  # 4.5 is the best that is possible


@pytest.mark.slow
def test_rl2_memory_lasts_through_episodes_and_stands_still_after_an_end():
    tasks = rl.cartpole(horizon=30)
    agent = rl.rl2(rl.Box(1), hidden=8, num_episodes=3, num_parts=1)
    task = tasks(jax.random.key(0))
    meta = agent.learner.init(jax.random.key(1), task)
    loss, aux = agent.learner.loss(meta, task, jax.random.key(2))
    assert np.isfinite(loss) and float(aux.metrics["return"]) >= float(aux.metrics["return/last"])
    gradient = jax.grad(lambda m: agent.learner.loss(jm.Variables(m, ()), task, jax.random.key(2))[0])(meta.params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
