"""A process of 2 states, 2 actions and 2 steps, whose expected return and its derivatives follow by enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import rl
from jaxmeta.rl._adaptation import Experience
from jaxmeta.rl._estimators import ESTIMATORS

HORIZON, RATE = 2, 0.7
P = np.array([[[0.8, 0.2], [0.3, 0.7]], [[0.5, 0.5], [0.1, 0.9]]])  # [s, a, s']
R = np.array([[1.0, -0.5], [0.3, 2.0]])
THETA = np.array([[0.3, -0.2], [0.1, 0.4]])


def environment():
    return rl.Tabular(jnp.array(P), jnp.array(R), jnp.zeros(()), HORIZON)


def policy():
    return rl.categorical_policy(jm.from_functions(lambda key, x: jnp.array(THETA), lambda v, x: x @ v.params))


def paths():
    """All (states, actions) with their probability under the dynamics alone."""
    for a0, s1, a1 in itertools.product(range(2), repeat=3):
        yield (0, s1), (a0, a1), P[0, a0, s1]


def expected_return(theta):
    total = 0.0
    for states, actions, dynamics in paths():
        log_p = sum(jax.nn.log_softmax(theta[s])[a] for s, a in zip(states, actions, strict=True))
        total += dynamics * jnp.exp(log_p) * sum(R[s, a] for s, a in zip(states, actions, strict=True))
    return total


def all_episodes(theta):
    """Every path as an episode, weighted by its probability under ``theta``: a batch without sampling error."""
    rows = list(paths())
    states, actions = (np.array([row[i] for row in rows]) for i in (0, 1))
    observations = jax.nn.one_hot(states, 2)
    log_probs = policy().apply(theta, observations).log_prob(jnp.array(actions))
    weight = jnp.array([row[2] for row in rows])[:, None] * jnp.exp(log_probs.sum(-1, keepdims=True))
    weight = jnp.broadcast_to(weight, actions.shape)
    episodes = rl.Episodes(observations, jnp.array(actions), jnp.array(R[states, actions]), weight, log_probs)
    return Experience(jax.lax.stop_gradient(episodes), rl.discounted(episodes.rewards, 1.0))


def derivatives(estimator, order):
    seen = all_episodes(jnp.array(THETA))

    def objective(theta):
        log_probs = policy().apply(theta, seen.episodes.observations).log_prob(seen.episodes.actions)
        return HORIZON * ESTIMATORS[estimator](log_probs, seen.episodes, seen.advantages)

    exact = expected_return
    for _ in range(order):
        objective, exact = jax.jacobian(objective), jax.jacobian(exact)
    return np.asarray(objective(jnp.array(THETA))), np.asarray(exact(jnp.array(THETA)))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_has_the_exact_first_derivative(estimator, x64):
    np.testing.assert_allclose(*derivatives(estimator, 1), atol=1e-12)


@pytest.mark.parametrize("order", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_dice_has_exact_derivatives_of_higher_order(order, x64):
    np.testing.assert_allclose(*derivatives("dice", order), atol=1e-12)


def test_the_biases_of_the_others_are_what_they_leave_out(x64):
    """`low_variance` lacks the products of scores of different steps, `log_likelihood` all products."""
    seen = all_episodes(jnp.array(THETA))
    score = jax.jacobian(lambda t: policy().apply(t, seen.episodes.observations).log_prob(seen.episodes.actions))
    s = np.asarray(score(jnp.array(THETA)))  # [E, H, S, A]
    weight, a = np.asarray(seen.episodes.weight), np.asarray(seen.advantages)
    same = np.einsum("et,etij,etkl->ijkl", weight * a, s, s)
    cross = np.einsum("e,eij,ekl->ijkl", weight[:, 1] * a[:, 1], s[:, 0], s[:, 1])
    cross = cross + cross.transpose(2, 3, 0, 1)
    for estimator, missing in (("low_variance", cross), ("log_likelihood", cross + same)):
        found, exact = derivatives(estimator, 2)
        np.testing.assert_allclose(exact - found, missing, atol=1e-12)
        assert np.abs(missing).max() > 0.05  # which is not small


def meta_gradient(experience, curvature):
    """Of the exact return after one sampled step; `HORIZON` turns the mean over steps into the return."""
    loop = rl.adaptation(
        policy(),
        inner_optimizer=optax.sgd(HORIZON * RATE),
        num_steps=1,
        num_episodes=1,
        discount=1.0,
        smoothing=1.0,
        curvature=curvature,
        normalise=False,
    )
    inner = jax.tree.map(lambda a: a[None], experience)
    return jax.grad(lambda theta: expected_return(loop.replay(theta, inner)))(jnp.array(THETA))


def exact_meta_gradient():
    adapted = lambda theta: theta + RATE * jax.grad(expected_return)(theta)
    return np.asarray(jax.grad(lambda theta: expected_return(adapted(theta)))(jnp.array(THETA)))


def test_the_meta_gradient_through_dice_is_exact_without_sampling(x64):
    np.testing.assert_allclose(meta_gradient(all_episodes(jnp.array(THETA)), "dice"), exact_meta_gradient(), atol=1e-12)


@pytest.mark.parametrize("curvature, bias", [("low_variance", 0.05), ("log_likelihood", 0.2)])
def test_the_meta_gradient_of_the_others_is_biased(curvature, bias, x64):
    found = meta_gradient(all_episodes(jnp.array(THETA)), curvature)
    error = np.linalg.norm(found - exact_meta_gradient()) / np.linalg.norm(exact_meta_gradient())
    assert error > bias, error


@pytest.mark.slow
def test_dice_converges_as_inner_batches_grow(x64):
    def error(num_episodes, seed):
        key = jax.random.key(seed)
        episodes = rl.rollout(policy(), jnp.array(THETA), environment(), key, num_episodes=num_episodes)
        found = meta_gradient(Experience(episodes, rl.discounted(episodes.rewards, 1.0)), "dice")
        return np.linalg.norm(found - exact_meta_gradient())

    errors = [np.mean([error(n, seed) for seed in range(4)]) for n in (100, 1_600, 25_600)]
    assert errors[1] < errors[0] / 2 and errors[2] < errors[1] / 2 and errors[2] < 0.02, errors  # 4 times fewer, each


def test_e_maml_differentiates_the_choice_of_episodes(x64):
    """With one inner episode, the expectation over it can be enumerated: E-MAML's gradient is that of the whole."""
    loop = rl.adaptation(
        policy(),
        inner_optimizer=optax.sgd(HORIZON * RATE),
        num_steps=1,
        num_episodes=1,
        discount=1.0,
        smoothing=1.0,
        curvature="low_variance",
        normalise=False,
    )
    every = all_episodes(jnp.array(THETA))
    one = lambda i: jax.tree.map(lambda a: a[i][None], every._replace(episodes=every.episodes._replace(weight=ONES)))
    probability = np.asarray(every.episodes.weight[:, 0])

    def expected(theta):  # sum over D0 of p(D0) J(adapted(D0)), with the same inner step
        total = 0.0
        for i in range(len(probability)):
            d0 = one(i)
            log_p = loop.log_probs(theta, d0.episodes).sum()
            p = probability[i] * jnp.exp(log_p - d0.episodes.log_probs.sum())
            total += p * expected_return(loop.replay(theta, jax.tree.map(lambda a: a[None], d0)))
        return total / HORIZON

    @jax.jit
    def gradient(inner):  # of E-MAML's objective, for the one inner batch
        adapted = loop.replay(jnp.array(THETA), jax.tree.map(lambda a: a[0], inner))
        outer = jax.tree.map(lambda a: a[None], all_episodes(adapted))
        weight = outer.episodes.weight  # the return is a mean over weighted paths here
        outer = outer._replace(episodes=outer.episodes._replace(rewards=outer.episodes.rewards * weight))
        return jax.grad(agent_objective)(jnp.array(THETA), inner, outer)

    agent_objective = rl.exploring(loop)
    total = np.zeros((2, 2))
    for i in range(len(probability)):
        inner = jax.tree.map(lambda a: a[None, None], one(i))  # [task, step, episode, ...]
        total += probability[i] * np.asarray(gradient(inner))
    np.testing.assert_allclose(total, np.asarray(jax.jit(jax.grad(expected))(jnp.array(THETA))), atol=1e-12)


ONES = np.ones((8, HORIZON))
