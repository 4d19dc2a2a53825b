"""ProMP: Rothfuss et al., 2019, https://arxiv.org/abs/1810.06784. Proximal outer epochs on low-variance curvature."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from ..types import PyTree
from ._adaptation import Agent, Experience, adaptation, divergence, outer_step, policy_learner
from ._estimators import mean_over_steps
from ._policies import Policy


def promp(
    policy: Policy,
    *,
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.1),
    outer_optimizer: optax.GradientTransformation | None = None,
    num_steps: int = 1,
    num_episodes: int = 20,
    num_epochs: int = 5,
    clip: float = 0.3,
    kl_penalty: float = 5e-4,
    discount: float = 0.99,
    smoothing: float = 1.0,
    normalise: bool = True,
) -> Agent:
    r"""Meta-learn an initial policy by several proximal steps on the same episodes.

    The outer objective is the clipped surrogate of PPO on the adapted policy,
    $\min(\rho_t A_t, \mathrm{clip}(\rho_t, 1 - \epsilon, 1 + \epsilon) A_t)$, minus $\eta$ times the divergence of the
    initial policy from the one that played the inner episodes. The inner objective is `low_variance`, whose
    importance weights stay right as the initial policy moves between epochs.

    Args:
      policy, inner_optimizer, num_steps, num_episodes, discount, smoothing, normalise: as for `maml_trpo`.
      outer_optimizer: of the outer steps, by default Adam with step size 1e-3; pass the same one to `jaxmeta.init` and
        `jaxmeta.fit`.
      num_epochs: outer steps on the same episodes.
      clip: $\epsilon$.
      kl_penalty: $\eta$.

    Returns:
      An `Agent`; train it with ``fit(agent.learner, sampler, outer_optimizer, state, step=agent.step, ...)``.

    Raises:
      ValueError: for sizes below 1.

    Example:
      >>> import jaxmeta as jm
      >>> from jaxmeta import rl
      >>> agent = promp(rl.categorical_policy(jm.from_linen(jm.backbones.MLP((8,), num_outputs=5))))
    """
    if num_epochs < 1:
        raise ValueError(f"`num_epochs` must be at least 1, got {num_epochs}.")
    optimizer = optax.adam(1e-3) if outer_optimizer is None else outer_optimizer
    loop = adaptation(
        policy,
        inner_optimizer=inner_optimizer,
        num_steps=num_steps,
        num_episodes=num_episodes,
        discount=discount,
        smoothing=smoothing,
        curvature="low_variance",
        normalise=normalise,
    )

    def objective(params: PyTree, inner: Experience, outer: Experience, old: PyTree = None) -> jax.Array:
        def of_task(inner: Experience, outer: Experience) -> jax.Array:
            ratio = jnp.exp(loop.log_probs(loop.replay(params, inner), outer.episodes) - outer.episodes.log_probs)
            value = jnp.minimum(ratio * outer.advantages, jnp.clip(ratio, 1 - clip, 1 + clip) * outer.advantages)
            moved = jax.vmap(partial(divergence, loop, params, params if old is None else old))(inner)
            return mean_over_steps(value, outer.episodes) - kl_penalty * moved.sum()

        return jax.vmap(of_task)(inner, outer).mean()

    def update(params: PyTree, opt_state: PyTree, inner: Experience, outer: Experience):
        def epoch(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], jax.Array]:
            new, opt_state = carry
            value, grads = jax.value_and_grad(lambda p: -objective(p, inner, outer, params))(new)
            updates, opt_state = optimizer.update(grads, opt_state, new)
            return (optax.apply_updates(new, updates), opt_state), value

        (params, opt_state), values = jax.lax.scan(epoch, (params, opt_state), None, length=num_epochs)
        return params, opt_state, {"loss": values[-1]}

    return Agent(policy_learner(loop, objective), outer_step(loop, update))
