"""Environments, rollouts, advantages and the trust region, against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta as jm
from jaxmeta import rl

ARMS = rl.bandits(3)(jax.random.key(0))
LINEAR = rl.gaussian_policy(jm.from_functions(lambda key, x: jnp.zeros((2, 2)), lambda v, x: x @ v.params), 2)


def test_navigation_moves_by_clipped_steps_and_ends_at_the_goal():
    env = rl.Navigation(jnp.array([0.1, 0.0]))
    state, _ = env.reset(jax.random.key(0))
    state, seen, reward, done = env.step(state, jnp.array([5.0, 0.0]), jax.random.key(1))
    np.testing.assert_allclose(seen, [0.1, 0.0], atol=1e-7)
    assert bool(done) and abs(float(reward)) < 1e-6
    _, _, reward, done = env.step(state, jnp.array([0.0, -5.0]), jax.random.key(1))
    assert not bool(done) and float(reward) == pytest.approx(-0.1)


def test_nothing_happens_after_the_end():
    def act(memory, observation, key):
        return memory + 1, jnp.array([1.0, 0.0]), observation

    env = rl.Navigation(jnp.array([0.2, 0.0]), 5)
    memory, (_, _, rewards, weight, dones, _) = rl.play(act, jnp.zeros(()), env, jax.random.key(0))
    assert weight.tolist() == [1, 1, 0, 0, 0] and dones.tolist() == [False, True, False, False, False]
    np.testing.assert_allclose(rewards, [-0.1, 0, 0, 0, 0], atol=1e-6)
    assert float(memory) == 2


def test_a_cart_pole_falls_and_every_balanced_step_is_worth_one():
    env = rl.cartpole(horizon=100)(jax.random.key(0)).support
    push = lambda memory, observation, key: (memory, jnp.ones((1,)), ())
    _, (_, _, rewards, weight, _, _) = rl.play(push, (), env, jax.random.key(1))
    assert 5 < float(rewards.sum()) < 50 and float(rewards.sum()) == float(weight.sum())


def test_tabular_rewards_and_transitions_have_their_means():
    env = rl.tabular(num_states=3, num_actions=2)(jax.random.key(0)).support
    step = jax.vmap(lambda key: env.step(jnp.array(1), jnp.array(0), key))
    states, _, rewards, _ = step(jax.random.split(jax.random.key(1), 20_000))
    assert float(rewards.mean()) == pytest.approx(float(env.rewards[1, 0]), abs=0.03)
    np.testing.assert_allclose(jnp.bincount(states, length=3) / 20_000, env.transitions[1, 0], atol=0.015)


def test_advantages_by_hand():
    rewards, values, weight = (
        jnp.array([1.0, 2.0, 4.0, 9.0]),
        jnp.array([3.0, 5.0, 7.0, 9.0]),
        jnp.array([1, 1, 1, 0.0]),
    )
    d2 = 4.0 - 7.0
    d1 = 2.0 + 0.5 * 7.0 - 5.0 + 0.5 * 0.8 * d2
    d0 = 1.0 + 0.5 * 5.0 - 3.0 + 0.5 * 0.8 * d1
    found = rl.gae(rewards * weight, values, weight, discount=0.5, smoothing=0.8)
    np.testing.assert_allclose(found, [d0, d1, d2, 0.0], rtol=1e-6)


def test_the_linear_baseline_predicts_what_is_linear_in_its_features():
    from jaxmeta.rl._advantages import linear_values

    x = jax.random.normal(jax.random.key(0), (4, 10, 2))
    weight = jnp.ones((4, 10)).at[0, 6:].set(0)
    returns = x[..., 0] - 2 * x[..., 1] ** 2 + 0.5 * jnp.arange(10)[None] / 100 + 3
    episodes = rl.Episodes(x, x, returns, weight, returns)
    broken = episodes._replace(observations=x.at[0, 6:].set(100.0))  # after the end nothing counts
    for seen in (episodes, broken):
        np.testing.assert_allclose(linear_values(seen, returns) * weight, returns * weight, atol=2e-2)


def test_kl_is_what_sampling_says():
    one, other = rl.Gaussian(jnp.array([0.3, -1.0]), jnp.array([0.1, -0.2])), rl.Gaussian(jnp.zeros(2), jnp.zeros(2))
    draws = jax.vmap(one.sample)(jax.random.split(jax.random.key(0), 100_000))
    gap = jax.vmap(lambda action: one.log_prob(action) - other.log_prob(action))(draws)
    assert float(gap.mean()) == pytest.approx(float(one.kl(other)), abs=0.02)
    p, q = rl.Categorical(jnp.array([0.0, 1.0])), rl.Categorical(jnp.array([0.5, -0.5]))
    log_p, log_q = (np.array([d.log_prob(jnp.array(a)) for a in (0, 1)]) for d in (p, q))
    by_hand = (np.exp(log_p) * (log_p - log_q)).sum()
    assert float(p.kl(q)) == pytest.approx(float(by_hand), rel=1e-5)


def test_a_trust_region_step_is_the_natural_gradient_of_the_right_length(x64):
    metric, slope = jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([1.0, -3.0])
    start = jnp.array([0.7, 0.2])
    root = jnp.linalg.cholesky(metric).T
    divergence = lambda old, new: 0.5 * jnp.sum((new - old) ** 2)
    new, metrics = rl.trust_region(lambda p: slope @ p, lambda p: root @ p, divergence, start, max_kl=0.01)
    direction = jnp.linalg.solve(metric, slope)
    expected = start + jnp.sqrt(0.02 / (direction @ metric @ direction)) * direction
    np.testing.assert_allclose(new, expected, rtol=1e-4)
    assert float(metrics["trpo/kl"]) == pytest.approx(0.01, rel=1e-3) and float(metrics["trpo/scale"]) == 1


def test_a_step_that_would_not_help_is_not_taken(x64):
    start = jnp.zeros(2)
    bumpy = lambda p: p[0] - 1e6 * p[0] ** 2  # improves nowhere along the step
    divergence = lambda old, new: 0.5 * jnp.sum((new - old) ** 2)
    new, metrics = rl.trust_region(bumpy, lambda p: p, divergence, start, max_kl=0.5, max_halvings=3)
    assert new.tolist() == [0, 0] and float(metrics["trpo/scale"]) == 0


@pytest.mark.parametrize("make, words", [
    (lambda: rl.navigation(horizon=0), "horizon"),
    (lambda: rl.bandits(1), "num_arms"),
    (lambda: rl.tabular(num_actions=1), "num_actions"),
    (lambda: rl.environments(lambda key: rl.Navigation(jnp.array([jnp.nan, 0.0]))), "finite"),
    (lambda: rl.maml_trpo(LINEAR, num_episodes=0), "num_episodes"),
    (lambda: rl.maml_trpo(LINEAR, kl_episodes=0), "kl_episodes"),
    (lambda: rl.maml_trpo(LINEAR, curvature="exact"), "curvature"),
    (lambda: rl.maml_trpo(LINEAR, discount=1.5), "discount"),
    (lambda: rl.e_maml(LINEAR, num_steps=2), "num_steps"),
    (lambda: rl.promp(LINEAR, num_epochs=0), "num_epochs"),
    (lambda: rl.rl2(rl.Box(1), hidden=0), "hidden"),
    (lambda: rl.maml_trpo(LINEAR).learner.init(jax.random.key(0), ARMS), "categorical_policy"),
    (lambda: rl.rl2(rl.Box(1)).learner.init(jax.random.key(0), ARMS), "action_space"),
])  # fmt: skip
def test_bad_input_is_refused_with_a_sentence(make, words):
    with pytest.raises(ValueError, match=words):
        make()
