"""MAML with a trust-region outer step: Finn, Abbeel and Levine, 2017, https://arxiv.org/abs/1703.03400, section 5.3."""

from functools import partial

import jax
import optax

from ..types import PyTree
from ._adaptation import (
    Adaptation,
    Agent,
    Curvature,
    Experience,
    Objective,
    adaptation,
    outer_step,
    policy_learner,
    surrogate,
)
from ._estimators import mean_over_steps
from ._policies import Distribution, Policy
from ._trust_region import trust_region


def maml_trpo(
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
    r"""Meta-learn an initial policy from which a few policy-gradient steps suffice.

    Inner steps maximise an estimate of the return on episodes of the current policy; the outer step maximises the
    importance-weighted advantage of the adapted policies, in a trust region on their mean divergence.

    Args:
      policy: see `gaussian_policy` and `categorical_policy`.
      inner_optimizer: any optax optimizer of the inner steps.
      num_steps: inner steps, each on episodes of its own.
      num_episodes: episodes of a task before each inner step, and after the last.
      discount: $\gamma$.
      smoothing: $\lambda$ of the advantages; 1 is the return minus the baseline.
      curvature: the estimator of the inner objective, which decides its second derivative: ``"low_variance"``,
        ``"dice"`` (unbiased, high variance), or ``"log_likelihood"`` (biased; the authors').
      normalise: scale the advantages of a task to variance 1.
      max_kl: bound of the trust region.
      kl_episodes: episodes of a task on which the divergence is computed, all by default. Most of the time goes into
        products with its Hessian, which need fewer examples than the gradient (Schulman et al., 2015, appendix C).

    Returns:
      An `Agent`; train it with ``fit(agent.learner, sampler, optax.identity(), state, step=agent.step, ...)``.

    Raises:
      ValueError: for sizes below 1, or an unknown ``curvature``.

    Example:
      >>> import jax, jaxmeta as jm
      >>> from jaxmeta import rl
      >>> policy = rl.gaussian_policy(jm.from_linen(jm.backbones.MLP((8,), num_outputs=2)), 2)
      >>> agent, tasks = maml_trpo(policy, num_episodes=4), rl.navigation(horizon=5)
      >>> state = jm.init(agent.learner, tasks, optax.identity(), key=jax.random.key(0))
      >>> _, metrics = jax.jit(agent.step)(state, jax.vmap(tasks)(jax.random.split(jax.random.key(1), 2)))
      >>> sorted(metrics)
      ['return/0', 'return/1', 'trpo/gain', 'trpo/kl', 'trpo/scale']
    """
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
    return trpo_agent(loop, partial(surrogate, loop), max_kl=max_kl, kl_episodes=kl_episodes)


def trpo_agent(loop: Adaptation, objective: Objective, *, max_kl: float, kl_episodes: int | None = None) -> Agent:
    """Return the agent whose outer step is a trust-region step.

    Args:
      loop: the inner loop.
      objective: ``(params, inner, outer) -> scalar``, to be maximised; experience is stacked over tasks.
      max_kl: bound on the mean divergence of the adapted policies.
      kl_episodes: episodes of a task on which the divergence is computed; all by default.

    Raises:
      ValueError: for ``kl_episodes`` below 1.
    """
    if kl_episodes is not None and kl_episodes < 1:
        raise ValueError(f"`kl_episodes` must be at least 1 or None, got {kl_episodes}.")

    def update(params: PyTree, opt_state: PyTree, inner: Experience, outer: Experience):
        some_inner = jax.tree.map(lambda a: a[:, :, :kl_episodes], inner)
        seen = jax.tree.map(lambda a: a[:, :kl_episodes], outer.episodes)

        def policies(params: PyTree) -> Distribution:
            act = lambda inner, observations: loop.policy.apply(loop.replay(params, inner), observations)
            return jax.vmap(act)(some_inner, seen.observations)

        def mean_divergence(old: Distribution, new: Distribution) -> jax.Array:
            return jax.vmap(mean_over_steps)(old.kl(new), seen).mean()

        params, metrics = trust_region(
            lambda p: objective(p, inner, outer), policies, mean_divergence, params, max_kl=max_kl
        )
        return params, opt_state, metrics

    return Agent(policy_learner(loop, objective), outer_step(loop, update))
