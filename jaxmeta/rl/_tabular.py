"""Random tabular Markov decision processes: Duan et al., 2016, https://arxiv.org/abs/1611.02779, section 3.2."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from ..types import Key
from ._environment import Discrete, Environments, environments


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tabular:
    r"""States and actions are numbers; tables hold transition probabilities and mean rewards.

    The observation is the one-hot state. An episode starts in state 0.

    Attributes:
      transitions: $P(s' | s, a)$, ``[S, A, S]``.
      rewards: means of the rewards, ``[S, A]``.
      noise: standard deviation of a reward around its mean.
      horizon: steps of an episode.
    """

    transitions: jax.Array
    rewards: jax.Array
    noise: jax.Array
    horizon: int = field(default=10, metadata={"static": True})

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.rewards.shape[-1])

    def reset(self, key: Key) -> tuple[jax.Array, jax.Array]:
        del key
        return jnp.zeros((), jnp.int32), self._observe(jnp.zeros((), jnp.int32))

    def step(self, state: jax.Array, action: jax.Array, key: Key):
        k_state, k_reward = jax.random.split(key)
        reward = self.rewards[state, action] + self.noise * jax.random.normal(k_reward)
        state = jax.random.categorical(k_state, jnp.log(self.transitions[state, action])).astype(jnp.int32)
        return state, self._observe(state), reward, jnp.asarray(False)

    def _observe(self, state: jax.Array) -> jax.Array:
        return jax.nn.one_hot(state, self.rewards.shape[-2])


def tabular(*, num_states: int = 10, num_actions: int = 5, horizon: int = 10) -> Environments:
    r"""Return a sampler of random processes.

    Transitions are drawn from a flat Dirichlet distribution; mean rewards from $N(1, 1)$, observed with unit noise.

    Raises:
      ValueError: for sizes below 1 (2 for actions).

    Example:
      >>> env = tabular(num_states=3, num_actions=2)(jax.random.key(0)).support
      >>> env.transitions.shape, bool(jnp.allclose(env.transitions.sum(-1), 1))
      ((3, 2, 3), True)
    """
    if num_states < 1 or num_actions < 2:
        raise ValueError(
            f"`num_states` must be at least 1 and `num_actions` at least 2, got {num_states} and {num_actions}."
        )

    def make(key: Key) -> Tabular:
        k_transitions, k_rewards = jax.random.split(key)
        transitions = jax.random.dirichlet(k_transitions, jnp.ones(num_states), (num_states, num_actions))
        rewards = 1 + jax.random.normal(k_rewards, (num_states, num_actions))
        return Tabular(transitions, rewards, jnp.ones(()), horizon)

    return environments(make)
