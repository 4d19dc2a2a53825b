"""Playing episodes: a scan over time, a vmap over episodes, no Python between the steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..types import Key, PyTree
from ._environment import Environment
from ._policies import Policy


class Episodes(NamedTuple):
    """Recorded steps, ``[E, H, ...]``.

    Attributes:
      observations: before each action, ``[E, H, O]``.
      actions: ``[E, H, A]``, or int32 ``[E, H]``.
      rewards: ``[E, H]``, 0 after the end.
      weight: 1 up to the end of an episode, the step that ends it included, and 0 after it, ``[E, H]``.
      log_probs: of the actions under the policy that took them, ``[E, H]``; constants.
    """

    observations: jax.Array
    actions: jax.Array
    rewards: jax.Array
    weight: jax.Array
    log_probs: jax.Array

    @property
    def returns(self) -> jax.Array:
        """Sums of the rewards, ``[E]``."""
        return self.rewards.sum(-1)


Act = Callable[[Any, jax.Array, Key], tuple[Any, jax.Array, Any]]


Remember = Callable[[Any, jax.Array, jax.Array], Any]


def play(
    act: Act, memory: Any, env: Environment, key: Key, *, remember: Remember = lambda memory, reward, done: memory
) -> tuple[Any, tuple[Any, ...]]:
    """Play one episode of ``env.horizon`` steps.

    Args:
      act: ``(memory, observation, key) -> (memory, action, record)``; ``memory`` may be any pytree.
      memory: at the start.
      env: the environment.
      key: of the episode.
      remember: ``(memory, reward, done) -> memory``, after each step; by default the reward is not remembered.

    Returns:
      The memory at the end, and ``(observations, actions, rewards, weight, dones, records)``, each with a leading
      axis ``[H]``. After the end the state and the memory stand still.
    """
    k_reset, k_steps = jax.random.split(key)
    state, observation = env.reset(k_reset)

    def step(carry: tuple[Any, ...], key: Key) -> tuple[Any, Any]:
        state, observation, memory, alive = carry
        k_act, k_env = jax.random.split(key)
        new_memory, action, record = act(memory, observation, k_act)
        new_state, new_observation, reward, done = env.step(state, action, k_env)
        new_memory = remember(new_memory, reward, done)
        keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(alive, a, b), new, old)
        weight = alive.astype(reward.dtype)
        seen = (observation, action, jnp.where(alive, reward, 0), weight, done & alive, record)
        carry = keep((new_state, new_observation, new_memory), (state, observation, memory))
        return (*carry, alive & ~done), seen

    carry = (state, observation, memory, jnp.asarray(True))
    (_, _, memory, _), seen = jax.lax.scan(step, carry, jax.random.split(k_steps, env.horizon))
    return memory, seen


def rollout(policy: Policy, params: PyTree, env: Environment, key: Key, *, num_episodes: int) -> Episodes:
    """Play episodes with a policy; no derivative passes through them.

    Args:
      policy: the policy.
      params: its parameters.
      env: the environment.
      key: of the episodes.
      num_episodes: E.

    Example:
      >>> import jaxmeta as jm
      >>> from jaxmeta import rl
      >>> policy = rl.gaussian_policy(jm.from_linen(jm.backbones.MLP((8,), num_outputs=2)), 2)
      >>> env = rl.navigation(horizon=10)(jax.random.key(0)).support
      >>> params = policy.init(jax.random.key(1), jnp.zeros((1, 2))).params
      >>> rollout(policy, params, env, jax.random.key(2), num_episodes=3).rewards.shape
      (3, 10)
    """
    params = jax.lax.stop_gradient(params)

    def act(memory: tuple[()], observation: jax.Array, key: Key) -> tuple[tuple[()], jax.Array, jax.Array]:
        distribution = policy.apply(params, observation[None])
        action = distribution.sample(key)
        return memory, action[0], distribution.log_prob(action)[0]

    def episode(key: Key) -> Episodes:
        _, (observations, actions, rewards, weight, _, log_probs) = play(act, (), env, key)
        return Episodes(observations, actions, rewards, weight, log_probs)

    return jax.lax.stop_gradient(jax.vmap(episode)(jax.random.split(key, num_episodes)))
