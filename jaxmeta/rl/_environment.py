"""Environments as pure functions whose parameters are a pytree, so that a task is an environment.

Letters: E episodes, H steps of an episode, O size of an observation, A size of an action.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..types import Key, PyTree, Task


class Box(NamedTuple):
    """Continuous actions ``[A]``, clipped by the environment to its own bounds.

    Attributes:
      size: A.
    """

    size: int


class Discrete(NamedTuple):
    """Actions ``0 .. num_actions - 1``.

    Attributes:
      num_actions: how many there are.
    """

    num_actions: int


class Environment(Protocol):
    """A Markov decision process as pure functions; its parameters are the leaves of the pytree that it is.

    ``horizon`` is the static number of steps after which an episode ends in any case. ``step`` reports ``done`` where
    it ends earlier; what follows in that episode is hidden by the rollout.
    """

    @property
    def horizon(self) -> int: ...

    @property
    def action_space(self) -> Box | Discrete: ...

    def reset(self, key: Key) -> tuple[PyTree, jax.Array]:
        """Return a start state and its observation ``[O]``."""
        ...

    def step(self, state: PyTree, action: jax.Array, key: Key) -> tuple[PyTree, jax.Array, jax.Array, jax.Array]:
        """Return the next state, its observation ``[O]``, the reward (float scalar) and ``done`` (bool scalar)."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Environments:
    """A sampler of reinforcement-learning tasks: see `environments`."""

    make: Callable[[Key], Environment] = field(metadata={"static": True})

    def draw(self, key: Key) -> Environment:
        """Return the environment of a task."""
        return self.make(key)

    def fetch(self, indices: Environment) -> Task:
        """Return the task: both adaptation and the outer loss act in the environment."""
        return Task(indices, indices)

    def __call__(self, key: Key) -> Task:
        return self.fetch(self.draw(key))


def environments(make: Callable[[Key], Environment]) -> Environments:
    """Return a sampler of tasks from a function that draws an environment.

    Args:
      make: ``key -> Environment``; jit and vmap must pass through it.

    Returns:
      A `Sampler` whose tasks have the environment as support and as query.

    Raises:
      ValueError: if the environment has no positive horizon, or a step gives a reward that is not a finite scalar.

    Example:
      >>> sampler = environments(lambda key: Bandit(jax.random.uniform(key, (5,))))
      >>> sampler(jax.random.key(0)).support.action_space
      Discrete(num_actions=5)
    """
    check_environment(make(jax.random.key(0)))
    return Environments(make)


def check_environment(env: Environment) -> None:
    """Play one step and refuse what no learner can use.

    Raises:
      ValueError: naming what is wrong and what to change.
    """
    name = type(env).__name__
    if env.horizon < 1:
        raise ValueError(f"`horizon` of {name} is {env.horizon}, so there is nothing to act in. Make it 1 or more.")
    space = env.action_space
    action = jnp.zeros((), jnp.int32) if isinstance(space, Discrete) else jnp.zeros((space.size,))
    k_reset, k_step = jax.random.split(jax.random.key(0))
    state, observation = env.reset(k_reset)
    _, after, reward, done = env.step(state, action, k_step)
    if jnp.shape(observation) != jnp.shape(after) or jnp.ndim(observation) != 1:
        raise ValueError(
            f"{name}: observations must be vectors of one shape, got {jnp.shape(observation)} from `reset` and "
            f"{jnp.shape(after)} from `step`. Flatten them."
        )
    if jnp.shape(reward) != () or jnp.shape(done) != ():
        raise ValueError(
            f"{name}: `step` must give a scalar reward and a scalar done, got shapes {jnp.shape(reward)} and "
            f"{jnp.shape(done)}."
        )
    if not np.isfinite(np.asarray(reward)):
        raise ValueError(f"{name}: the reward of the first step is {float(reward)}. Rewards must be finite numbers.")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bandit:
    """A Bernoulli bandit: arm $a$ pays 1 with probability $p_a$. An episode is one pull.

    Duan et al., 2016, https://arxiv.org/abs/1611.02779, section 3.1.

    Attributes:
      probabilities: ``[A]``, of a payment.
    """

    probabilities: jax.Array
    horizon: int = field(default=1, metadata={"static": True})

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.probabilities.shape[-1])

    def reset(self, key: Key) -> tuple[tuple[()], jax.Array]:
        del key
        return (), jnp.zeros((1,))

    def step(self, state: tuple[()], action: jax.Array, key: Key):
        reward = jax.random.bernoulli(key, self.probabilities[action]).astype(jnp.float32)
        return state, jnp.zeros((1,)), reward, jnp.asarray(True)


def bandits(num_arms: int = 5) -> Environments:
    """Return a sampler of Bernoulli bandits whose probabilities are uniform on [0, 1].

    Raises:
      ValueError: for fewer than two arms.

    Example:
      >>> bandits(3)(jax.random.key(0)).support.probabilities.shape
      (3,)
    """
    if num_arms < 2:
        raise ValueError(f"`num_arms` must be at least 2, got {num_arms}.")
    return environments(lambda key: Bandit(jax.random.uniform(key, (num_arms,))))
