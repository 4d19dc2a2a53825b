"""Policies: networks whose outputs are distributions over actions."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ..types import Key, Model, PyTree, Variables
from ._environment import Box, Discrete


class Distribution(Protocol):
    """A distribution over actions, for arrays of any leading axes."""

    def sample(self, key: Key) -> jax.Array: ...

    def log_prob(self, action: jax.Array) -> jax.Array: ...

    def entropy(self) -> jax.Array: ...

    def mode(self) -> jax.Array: ...

    def kl(self, other: Any) -> jax.Array: ...


class Gaussian(NamedTuple):
    """Independent normal distributions of the coordinates of an action.

    Attributes:
      mean: ``[..., A]``.
      log_std: ``[..., A]``.
    """

    mean: jax.Array
    log_std: jax.Array

    def sample(self, key: Key) -> jax.Array:
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def log_prob(self, action: jax.Array) -> jax.Array:
        z = (action - self.mean) * jnp.exp(-self.log_std)
        return jnp.sum(-0.5 * z**2 - self.log_std - 0.5 * math.log(2 * math.pi), -1)

    def entropy(self) -> jax.Array:
        return jnp.sum(self.log_std + 0.5 * math.log(2 * math.pi * math.e), -1)

    def mode(self) -> jax.Array:
        return self.mean

    def kl(self, other: Any) -> jax.Array:
        """Return the divergence from this distribution to another of its kind, KL(self || other)."""
        ratio = jnp.exp(2 * (self.log_std - other.log_std))
        shift = ((self.mean - other.mean) * jnp.exp(-other.log_std)) ** 2
        return jnp.sum(other.log_std - self.log_std + 0.5 * (ratio + shift - 1), -1)


class Categorical(NamedTuple):
    """A distribution over numbered actions.

    Attributes:
      logits: ``[..., A]``.
    """

    logits: jax.Array

    def sample(self, key: Key) -> jax.Array:
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def log_prob(self, action: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(self.logits)
        return jnp.take_along_axis(log_p, action[..., None].astype(jnp.int32), -1)[..., 0]

    def entropy(self) -> jax.Array:
        log_p = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(log_p) * log_p, -1)

    def mode(self) -> jax.Array:
        return jnp.argmax(self.logits, -1).astype(jnp.int32)

    def kl(self, other: Any) -> jax.Array:
        """Return the divergence from this distribution to another of its kind, KL(self || other)."""
        mine, theirs = jax.nn.log_softmax(self.logits), jax.nn.log_softmax(other.logits)
        return jnp.sum(jnp.exp(mine) * (mine - theirs), -1)


class Policy(NamedTuple):
    """A policy without memory.

    Attributes:
      init: ``(key, observations) -> Variables``.
      apply: ``(params, observations) -> Distribution``, for observations ``[..., O]``.
      action_space: the kind of action that the distribution is over.
    """

    init: Callable[[Key, jax.Array], Variables]
    apply: Callable[[PyTree, jax.Array], Gaussian | Categorical]
    action_space: type[Box] | type[Discrete]


def gaussian_policy(model: Model, num_actions: int, *, init_std: float = 1.0) -> Policy:
    """Return a policy whose mean is the network's output; the logarithms of the deviations are learned with it.

    Args:
      model: gives ``[N, num_actions]``; it must not carry state (no BatchNorm).
      num_actions: A.
      init_std: standard deviation at the start.

    Example:
      >>> import jaxmeta as jm
      >>> policy = gaussian_policy(jm.from_linen(jm.backbones.MLP((8,), num_outputs=2)), 2)
      >>> variables = policy.init(jax.random.key(0), jnp.zeros((1, 3)))
      >>> policy.apply(variables.params, jnp.zeros((4, 5, 3))).mean.shape
      (4, 5, 2)
    """
    if not init_std > 0:
        raise ValueError(f"`init_std` must be positive, got {init_std}.")

    def init(key: Key, observations: jax.Array) -> Variables:
        net = model.init(key, observations)
        _refuse_state(net)
        return Variables({"net": net.params, "log_std": jnp.full((num_actions,), math.log(init_std))})

    def apply(params: PyTree, observations: jax.Array) -> Gaussian:
        mean = _through(model, params["net"], observations)
        return Gaussian(mean, jnp.broadcast_to(params["log_std"], mean.shape))

    return Policy(init, apply, Box)


def categorical_policy(model: Model) -> Policy:
    """Return a policy over numbered actions, whose logits are the network's output ``[N, A]``.

    Example:
      >>> import jaxmeta as jm
      >>> policy = categorical_policy(jm.from_linen(jm.backbones.MLP((8,), num_outputs=5)))
      >>> policy.apply(policy.init(jax.random.key(0), jnp.zeros((1, 3))).params, jnp.zeros((4, 3))).logits.shape
      (4, 5)
    """

    def init(key: Key, observations: jax.Array) -> Variables:
        net = model.init(key, observations)
        _refuse_state(net)
        return net

    return Policy(init, lambda params, x: Categorical(_through(model, params, x)), Discrete)


def check_policy(policy: Policy, space: Box | Discrete) -> None:
    """Raise a ValueError where a policy does not fit the actions of an environment."""
    if not isinstance(space, policy.action_space):
        kinds = {Box: "continuous actions", Discrete: "numbered actions"}
        makers = {Box: "gaussian_policy", Discrete: "categorical_policy"}
        raise ValueError(
            f"`policy` is over {kinds[policy.action_space]}, but the environment takes {kinds[type(space)]} ({space}). "
            f"Build it with `jaxmeta.rl.{makers[type(space)]}`."
        )


def _through(model: Model, params: PyTree, observations: jax.Array) -> jax.Array:
    """Return the network's outputs for observations of any leading axes."""
    flat = observations.reshape(-1, observations.shape[-1])
    outputs, _ = model.apply(Variables(params), flat, train=True)
    return outputs.reshape(*observations.shape[:-1], -1)


def _refuse_state(variables: Variables) -> None:
    if jax.tree.leaves(variables.state):
        raise ValueError("`model` carries state (BatchNorm). Rollouts act on one observation: take LayerNorm or none.")
