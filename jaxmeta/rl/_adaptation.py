r"""Adaptation of a policy by policy gradients: the inner loop of MAML-TRPO, E-MAML and ProMP.

Data are collected first, then the inner steps are replayed on them: with episodes $D_0, \dots, D_K$ of a task held
fixed, the adapted parameters are a differentiable function of the initial ones, as in supervised learning.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..inner import descend
from ..step import step_keys, task_keys
from ..types import Aux, Key, MetaLearner, MetaState, PyTree, Task, Variables
from ._advantages import advantages
from ._environment import Environment
from ._estimators import ESTIMATORS, low_variance, mean_over_steps
from ._policies import Categorical, Gaussian, Policy, check_policy
from ._rollout import Episodes, rollout

Curvature = Literal["dice", "low_variance", "log_likelihood"]


class Experience(NamedTuple):
    """Episodes with their advantages, ``[E, H]``; those of K inner steps are stacked on a leading axis."""

    episodes: Episodes
    advantages: jax.Array


class Adaptation(NamedTuple):
    """The inner loop of one task.

    Attributes:
      collect: ``(params, env, key) -> (inner, outer)``: the `Experience` of the K inner steps, stacked, and of the
        adapted policy. Constants.
      replay: ``(params, inner) -> adapted``: the inner steps again, differentiable in ``params``.
      policy: the policy.
    """

    collect: Callable[[PyTree, Environment, Key], tuple[Experience, Experience]]
    replay: Callable[[PyTree, Experience], PyTree]
    policy: Policy

    def log_probs(self, params: PyTree, episodes: Episodes) -> jax.Array:
        """Return the log-probabilities of recorded actions under other parameters, ``[E, H]``."""
        return self.policy.apply(params, episodes.observations).log_prob(episodes.actions)


def adaptation(
    policy: Policy,
    *,
    inner_optimizer: optax.GradientTransformation,
    num_steps: int,
    num_episodes: int,
    discount: float,
    smoothing: float,
    curvature: Curvature,
    normalise: bool,
) -> Adaptation:
    """Return the inner loop; the arguments are those of `maml_trpo`.

    Raises:
      ValueError: for sizes below 1 (0 inner steps are allowed), or an unknown ``curvature``.
    """
    if num_steps < 0 or num_episodes < 1:
        raise ValueError(
            f"`num_steps` must be at least 0 and `num_episodes` at least 1, got {num_steps} and {num_episodes}."
        )
    if curvature not in ESTIMATORS:
        raise ValueError(f"`curvature` must be one of {list(ESTIMATORS)}, got {curvature!r}.")
    if not 0 <= discount <= 1 or not 0 <= smoothing <= 1:
        raise ValueError(f"`discount` and `smoothing` must be in [0, 1], got {discount} and {smoothing}.")
    estimator = ESTIMATORS[curvature]

    def record(params: PyTree, env: Environment, key: Key) -> Experience:
        episodes = rollout(policy, params, env, key, num_episodes=num_episodes)
        return Experience(episodes, advantages(episodes, discount=discount, smoothing=smoothing, normalise=normalise))

    def objective(params: PyTree, state: tuple[()], seen: Experience) -> tuple[jax.Array, tuple[()]]:
        log_probs = policy.apply(params, seen.episodes.observations).log_prob(seen.episodes.actions)
        return -estimator(log_probs, seen.episodes, seen.advantages), state

    def replay(params: PyTree, inner: Experience) -> PyTree:
        return descend(objective, params, inner_optimizer, num_steps, inputs=inner, gradient="reverse").params

    def collect(params: PyTree, env: Environment, key: Key) -> tuple[Experience, Experience]:
        check_policy(policy, env.action_space)
        keys = jax.random.split(key, num_steps + 1)
        fast, opt_state, inner = jax.lax.stop_gradient(params), inner_optimizer.init(params), []
        for k in keys[:-1]:
            seen = record(fast, env, k)
            end = descend(
                objective,
                fast,
                inner_optimizer,
                1,
                inputs=jax.tree.map(lambda a: a[None], seen),
                opt_state=opt_state,
                gradient="first_order",
            )
            fast, opt_state = end.params, end.opt_state
            inner.append(seen)
        outer = record(fast, env, keys[-1])
        stack = lambda *parts: jnp.stack(parts) if parts else None
        nothing = jax.tree.map(lambda a: a[:0], jax.tree.map(lambda a: a[None], outer))
        return jax.tree.map(stack, *inner) if inner else nothing, outer

    return Adaptation(collect, replay, policy)


def surrogate(loop: Adaptation, params: PyTree, inner: Experience, outer: Experience) -> jax.Array:
    """Return the mean over tasks of the importance-weighted advantage of the adapted policies."""

    def of_task(inner: Experience, outer: Experience) -> jax.Array:
        log_probs = loop.log_probs(loop.replay(params, inner), outer.episodes)
        return low_variance(log_probs, outer.episodes, outer.advantages)

    return jax.vmap(of_task)(inner, outer).mean()


def divergence(loop: Adaptation, params: PyTree, old: PyTree, experience: Experience) -> jax.Array:
    """Return the mean over steps of KL(old policy || policy), on the observations of some episodes."""
    before = jax.lax.stop_gradient(loop.policy.apply(old, experience.episodes.observations))
    after = loop.policy.apply(params, experience.episodes.observations)
    return mean_over_steps(before.kl(after), experience.episodes)


def mean_returns(inner: Experience, outer: Experience) -> dict[str, jax.Array]:
    """Return ``{"return/k": mean return after k inner steps}``."""
    before = inner.episodes.rewards.sum(-1).mean(-1)
    after = outer.episodes.rewards.sum(-1).mean()
    return {f"return/{k}": r for k, r in enumerate([*before, after])}


Objective = Callable[[PyTree, Experience, Experience], jax.Array]


def policy_learner(loop: Adaptation, objective: Objective) -> MetaLearner:
    """Return the `MetaLearner` of an inner loop and an outer objective.

    Args:
      loop: the inner loop.
      objective: ``(params, inner, outer) -> scalar``, to be maximised; experience is stacked over tasks.

    ``adapt`` plays in the environment and returns the adapted parameters; without a key it plays with a fixed one.
    ``predict`` maps observations to the adapted policy's distribution. ``loss`` reports mean returns per inner step.
    """

    def init(key: Key, task: Task) -> Variables:
        check_policy(loop.policy, task.support.action_space)
        k_reset, k_init = jax.random.split(key)
        _, observation = task.support.reset(k_reset)
        return loop.policy.init(k_init, observation[None])

    def adapt(meta: Variables, support: Environment, key: Key | None = None) -> PyTree:
        inner, _ = loop.collect(meta.params, support, jax.random.key(0) if key is None else key)
        return loop.replay(meta.params, inner)

    def predict(
        meta: Variables, adapted: PyTree, x: jax.Array, key: Key | None = None, *, weight: jax.Array | None = None
    ) -> Gaussian | Categorical:
        del meta, key, weight  # observations do not see each other
        return loop.policy.apply(adapted, x)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        inner, outer = loop.collect(meta.params, task.support, jax.random.key(0) if key is None else key)
        one = jax.tree.map(lambda a: a[None], (inner, outer))
        value = -objective(meta.params, *one)
        return value, Aux(meta.state, {"loss": value, **mean_returns(inner, outer)})

    return MetaLearner(init, adapt, predict, loss)


Update = Callable[[PyTree, PyTree, Experience, Experience], tuple[PyTree, PyTree, dict[str, jax.Array]]]


def outer_step(loop: Adaptation, update: Update) -> Callable[[MetaState, Task], tuple[MetaState, dict[str, jax.Array]]]:
    """Return a step for ``fit(step=...)``: collect experience of every task, then update on all of it.

    Args:
      loop: the inner loop.
      update: ``(params, opt_state, inner, outer) -> (params, opt_state, metrics)``, experience stacked over tasks.
    """

    def step(state: MetaState, tasks: Task) -> tuple[MetaState, dict[str, jax.Array]]:
        _, k_learn = step_keys(state)
        keys = task_keys(k_learn, jax.tree.leaves(tasks)[0].shape[0])
        params = state.meta.params
        inner, outer = jax.vmap(loop.collect, (None, 0, 0))(params, tasks.support, keys)
        params, opt_state, metrics = update(params, state.opt_state, inner, outer)
        returns = jax.tree.map(jnp.mean, jax.vmap(mean_returns)(inner, outer))
        meta = Variables(params, state.meta.state)
        return MetaState(state.step + 1, meta, opt_state, state.key), {**metrics, **returns}

    return step


class Agent(NamedTuple):
    """A learner with the outer step that trains it: ``fit(agent.learner, ..., step=agent.step)``."""

    learner: MetaLearner
    step: Callable[[MetaState, Task], tuple[MetaState, dict[str, jax.Array]]]
