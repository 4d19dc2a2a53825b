"""E-MAML: Stadie et al., 2018, https://arxiv.org/abs/1803.01118. The outer gradient sees how adaptation explores."""

import jax
import optax

from ..types import PyTree
from ._adaptation import Adaptation, Agent, Curvature, Experience, Objective, adaptation, surrogate
from ._maml_trpo import trpo_agent
from ._policies import Policy


def e_maml(
    policy: Policy,
    *,
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.1),
    num_steps: int = 1,
    num_episodes: int = 20,
    discount: float = 0.99,
    smoothing: float = 1.0,
    curvature: Curvature = "low_variance",
    normalise: bool = True,
    max_kl: float = 0.01,
    kl_episodes: int | None = None,
) -> Agent:
    r"""MAML whose initial policy is also rewarded for the episodes that it adapts on.

    MAML differentiates the adapted policy's return through the inner step and treats the episodes $D_0$ that the step
    saw as given. Their distribution depends on the initial policy too, which adds
    $E[\nabla \log p_\theta(D_0) \, R(D_1)]$ to the gradient, with $R$ the mean reward on the outer episodes. The mean
    over the other tasks is subtracted from $R$, which changes no expectation.

    Args:
      policy, inner_optimizer, num_steps, num_episodes, discount, smoothing, curvature, normalise, max_kl,
        kl_episodes: as for `maml_trpo`.

    Returns:
      An `Agent`.

    Example:
      >>> import jaxmeta as jm
      >>> from jaxmeta import rl
      >>> agent = e_maml(rl.categorical_policy(jm.from_linen(jm.backbones.MLP((8,), num_outputs=5))))
    """
    if num_steps != 1:
        raise ValueError(f"`num_steps` must be 1 for E-MAML, got {num_steps}. Take `maml_trpo` for several steps.")
    loop = adaptation(
        policy,
        inner_optimizer=inner_optimizer,
        num_steps=num_steps,
        num_episodes=num_episodes,
        discount=discount,
        smoothing=smoothing,
        curvature=curvature,
        normalise=normalise,
    )

    return trpo_agent(loop, exploring(loop), max_kl=max_kl, kl_episodes=kl_episodes)


def exploring(loop: Adaptation) -> Objective:
    """Return the outer objective of E-MAML for an inner loop of one step."""

    def objective(params: PyTree, inner: Experience, outer: Experience) -> jax.Array:
        episodes = jax.tree.map(lambda a: a[:, 0], inner.episodes)  # of the only inner step
        score = (loop.log_probs(params, episodes) * episodes.weight).sum((1, 2))
        reward = outer.episodes.rewards.sum((1, 2)) / outer.episodes.weight.sum((1, 2))
        gain = jax.lax.stop_gradient(reward - others_mean(reward))
        return surrogate(loop, params, inner, outer) + (score * gain).mean()

    return objective


def others_mean(values: jax.Array) -> jax.Array:
    """Return, for each task, the mean over the other tasks: a baseline that is independent of the task's episodes.

    Example:
      >>> import jax.numpy as jnp
      >>> others_mean(jnp.array([1.0, 2.0, 3.0])), others_mean(jnp.array([5.0]))
      (Array([2.5, 2. , 1.5], dtype=float32), Array([0.], dtype=float32))
    """
    return (values.sum() - values) / max(len(values) - 1, 1)
