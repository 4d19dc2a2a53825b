"""Navigation of a point in the plane: Finn, Abbeel and Levine, 2017, https://arxiv.org/abs/1703.03400, section 5.3."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from ..types import Key
from ._environment import Box, Environments, environments

STEP, NEAR = 0.1, 0.01  # the largest move along an axis; how close to the goal an episode ends


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Navigation:
    r"""A point that starts at the origin and is to reach a goal that it does not observe.

    The observation is the position $x \in R^2$. An action $a$, clipped to $[-1, 1]^2$, moves it by $0.1\, a$. The
    reward of a step is $-\|x - g\|$ after the move, and the episode ends where both coordinates are within 0.01 of
    the goal.

    Attributes:
      goal: $g$, ``[2]``.
      horizon: steps of an episode.
    """

    goal: jax.Array
    horizon: int = field(default=100, metadata={"static": True})

    @property
    def action_space(self) -> Box:
        return Box(2)

    def reset(self, key: Key) -> tuple[jax.Array, jax.Array]:
        del key
        start = jnp.zeros((2,), jnp.result_type(float))
        return start, start

    def step(self, state: jax.Array, action: jax.Array, key: Key):
        del key
        position = state + STEP * jnp.clip(action, -1, 1)
        offset = position - self.goal
        return position, position, -jnp.linalg.norm(offset), jnp.all(jnp.abs(offset) < NEAR)


def navigation(*, reach: float = 0.5, horizon: int = 100) -> Environments:
    """Return a sampler of goals that are uniform on ``[-reach, reach]^2``.

    Args:
      reach: largest coordinate of a goal.
      horizon: steps of an episode, H.

    Raises:
      ValueError: for a ``horizon`` below 1.

    Example:
      >>> env = navigation(horizon=20)(jax.random.key(0)).support
      >>> env.goal.shape, env.horizon
      ((2,), 20)
    """
    return environments(lambda key: Navigation(jax.random.uniform(key, (2,), minval=-reach, maxval=reach), horizon))
