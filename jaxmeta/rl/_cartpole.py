"""Balancing a pole on a cart whose masses and length are not known: a problem of adaptive control.

Barto, Sutton and Anderson, 1983, IEEE Transactions on Systems, Man, and Cybernetics 13(5): the equations of motion.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from ..types import Key
from ._environment import Box, Environments, environments

GRAVITY, SECONDS, FORCE = 9.8, 0.02, 10.0  # m / s^2; of a step; N, of the largest action
MAX_ANGLE, MAX_POSITION = 12 * jnp.pi / 180, 2.4  # beyond which an episode ends: rad, m


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CartPole:
    r"""A cart that is pushed with a force in [-10, 10] N times ``direction`` and carries a pole.

    The observation is position, velocity, angle and angular velocity of the pole; the action, in [-1, 1], is the force
    as a part of its largest. Every step that the pole stays up is worth 1.

    Attributes:
      cart_mass: kg.
      pole_mass: kg.
      length: half of the pole's length, m.
      direction: 1, or -1 where the motor is wired the other way round.
      horizon: steps of an episode, of 0.02 s.
    """

    cart_mass: jax.Array
    pole_mass: jax.Array
    length: jax.Array
    direction: jax.Array
    horizon: int = field(default=200, metadata={"static": True})

    @property
    def action_space(self) -> Box:
        return Box(1)

    def reset(self, key: Key) -> tuple[jax.Array, jax.Array]:
        state = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return state, state

    def step(self, state: jax.Array, action: jax.Array, key: Key):
        del key
        _, velocity, angle, spin = state
        force = FORCE * self.direction * jnp.clip(action[0], -1, 1)
        total, moment = self.cart_mass + self.pole_mass, self.pole_mass * self.length
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        push = (force + moment * spin**2 * sine) / total
        twist = (GRAVITY * sine - cosine * push) / (self.length * (4 / 3 - self.pole_mass * cosine**2 / total))
        rates = jnp.stack([velocity, push - moment * twist * cosine / total, spin, twist])
        state = state + SECONDS * rates
        done = (jnp.abs(state[0]) > MAX_POSITION) | (jnp.abs(state[2]) > MAX_ANGLE)
        return state, state, jnp.ones(()), done


def cartpole(
    *,
    cart_mass: tuple[float, float] = (0.5, 2.0),
    pole_mass: tuple[float, float] = (0.05, 0.5),
    length: tuple[float, float] = (0.25, 1.0),
    flip: bool = True,
    horizon: int = 200,
) -> Environments:
    """Return a sampler of cart-poles with random physics, uniform over the given ranges.

    Args:
      cart_mass: range, kg.
      pole_mass: range, kg.
      length: range of half the pole's length, m.
      flip: whether half of the motors push the other way round, which no policy without memory can balance.
      horizon: steps of an episode.

    Example:
      >>> float(cartpole(flip=False)(jax.random.key(0)).support.direction)
      1.0
    """

    def make(key: Key) -> CartPole:
        k_cart, k_pole, k_length, k_flip = jax.random.split(key, 4)
        draw = lambda key, limits: jax.random.uniform(key, (), minval=limits[0], maxval=limits[1])
        sign = jnp.where(jax.random.bernoulli(k_flip), -1.0, 1.0) if flip else jnp.ones(())
        return CartPole(draw(k_cart, cart_mass), draw(k_pole, pole_mass), draw(k_length, length), sign, horizon)

    return environments(make)
