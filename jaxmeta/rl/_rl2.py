"""RL2: learning to reinforcement-learn with a recurrent policy.

Duan et al., 2016, https://arxiv.org/abs/1611.02779, and Wang et al., 2016, https://arxiv.org/abs/1611.05763.

Letters: P episodes of a trial, S = P H steps of a trial, M size of the memory.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..step import step_keys, task_keys
from ..types import Aux, Key, MetaLearner, MetaState, PyTree, Task, Variables
from ._adaptation import Agent
from ._advantages import gae
from ._environment import Box, Discrete, Environment
from ._policies import Categorical, Gaussian
from ._rollout import play


class Past(NamedTuple):
    """The memory of a trial: the network's, and the last action, reward and end of an episode, which it is shown."""

    memory: jax.Array
    action: jax.Array
    reward: jax.Array
    done: jax.Array


class Trial(NamedTuple):
    """Recorded steps of one trial, ``[S, ...]``: P episodes of H steps one after the other.

    ``inputs`` is what the network was shown, ``values`` what it expected; ``weight`` is 0 after the end of an episode.
    """

    inputs: jax.Array
    actions: jax.Array
    rewards: jax.Array
    weight: jax.Array
    log_probs: jax.Array
    values: jax.Array


def rl2(
    action_space: Box | Discrete,
    *,
    hidden: int = 64,
    num_episodes: int = 10,
    outer_optimizer: optax.GradientTransformation | None = None,
    discount: float = 0.99,
    smoothing: float = 0.95,
    clip: float = 0.2,
    entropy: float = 0.01,
    num_epochs: int = 4,
    num_parts: int = 4,
    unroll: int = 1,
) -> Agent:
    r"""Meta-train a gated recurrent network whose memory lasts through the episodes of a trial.

    At each step the network sees the observation, its last action and reward, and whether an episode has just ended,
    and gives a distribution over actions and a value. Adaptation is nothing but playing: the memory at the end of a
    trial is what was learned. The outer step is PPO (Schulman et al., 2017, https://arxiv.org/abs/1707.06347) on whole
    trials, with advantages that run across the episodes of a trial.

    Args:
      action_space: of the environments, `Box` or `Discrete`.
      hidden: M, units of the network.
      num_episodes: P.
      outer_optimizer: by default Adam with step size 1e-3 on gradients of norm 0.5 at most; pass the same one to
        `jaxmeta.init` and `jaxmeta.fit`.
      discount: $\gamma$, across episodes.
      smoothing: $\lambda$ of the advantages.
      clip: of the importance weights.
      entropy: weight of the entropy bonus.
      num_epochs: passes over the trials of a step.
      num_parts: parts into which these are split, one update each; it must divide the number of tasks.
      unroll: steps of the network that are compiled as one: faster, and more to compile.

    Returns:
      An `Agent` with ``agent.learner.adapt(meta, env, key) -> Past``, and ``predict(meta, past, observations)``, the
      distribution of the next action for each of several observations ``[N, O]``.

    Raises:
      ValueError: for sizes below 1.

    Example:
      >>> import jaxmeta as jm
      >>> from jaxmeta import rl
      >>> agent, tasks = rl2(rl.Discrete(3), hidden=8, num_episodes=4), rl.bandits(3)
      >>> meta = agent.learner.init(jax.random.key(0), tasks(jax.random.key(1)))
      >>> past = agent.learner.adapt(meta, tasks(jax.random.key(2)).support, jax.random.key(3))
      >>> agent.learner.predict(meta, past, jnp.zeros((1, 1))).logits.shape
      (1, 3)
    """
    sizes = {"hidden": hidden, "num_episodes": num_episodes, "num_epochs": num_epochs, "num_parts": num_parts}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"`{name}` must be at least 1, got {size}.")
    optimizer = ppo_optimizer() if outer_optimizer is None else outer_optimizer
    network = recurrent_network(action_space, hidden)

    def init(key: Key, task: Task) -> Variables:
        check_space(action_space, task.support)
        k_reset, k_init = jax.random.split(key)
        _, observation = task.support.reset(k_reset)
        past = start()
        return Variables(network.init(k_init, past.memory, show(observation, past)))

    def start() -> Past:
        action = jnp.zeros((), jnp.int32) if isinstance(action_space, Discrete) else jnp.zeros((action_space.size,))
        return Past(jnp.zeros((hidden,)), action, jnp.zeros(()), jnp.ones(()))

    def show(observation: jax.Array, past: Past) -> jax.Array:
        if isinstance(action_space, Discrete):
            action = jax.nn.one_hot(past.action, action_space.num_actions)
        else:
            action = past.action
        return jnp.concatenate([observation, action, past.reward[None], past.done[None]], -1)

    def trial(params: PyTree, env: Environment, key: Key) -> tuple[Past, Trial]:
        params = jax.lax.stop_gradient(params)

        def act(past: Past, observation: jax.Array, key: Key) -> tuple[Past, jax.Array, Any]:
            inputs = show(observation, past)
            memory, distribution, value = network.apply(params, past.memory, inputs)
            action = distribution.sample(key)
            record = (inputs, distribution.log_prob(action), value)
            return Past(memory, action, past.reward, jnp.zeros(())), action, record

        def episode(past: Past, key: Key) -> tuple[Past, Trial]:
            past, (_, actions, rewards, weight, _, (inputs, log_probs, values)) = play(
                act, past, env, key, remember=lambda past, reward, done: past._replace(reward=reward)
            )
            return past._replace(done=jnp.ones(())), Trial(inputs, actions, rewards, weight, log_probs, values)

        past, recorded = jax.lax.scan(episode, start(), jax.random.split(key, num_episodes))
        return past, jax.tree.map(lambda a: jax.lax.stop_gradient(a.reshape(-1, *a.shape[2:])), recorded)

    def adapt(meta: Variables, support: Environment, key: Key | None = None) -> Past:
        return trial(meta.params, support, jax.random.key(0) if key is None else key)[0]

    def predict(
        meta: Variables, adapted: Past, x: jax.Array, key: Key | None = None, *, weight: jax.Array | None = None
    ) -> Gaussian | Categorical:
        del key, weight  # observations do not see each other
        return jax.vmap(lambda x: network.apply(meta.params, adapted.memory, show(x, adapted))[1])(x)

    def replay(params: PyTree, seen: Trial) -> tuple[Gaussian | Categorical, jax.Array]:
        """Run the network over a recorded trial again: distributions and values of all steps."""

        def step(memory: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
            inputs, weight = at
            new, distribution, value = network.apply(params, memory, inputs)
            return jnp.where(weight > 0, new, memory), (distribution, value)

        return jax.lax.scan(step, start().memory, (seen.inputs, seen.weight), unroll=unroll)[1]

    def objective(params: PyTree, seen: Trial, advantages: jax.Array) -> jax.Array:
        """The loss of PPO on one trial, to be minimised."""
        distribution, values = replay(params, seen)
        ratio = jnp.exp(distribution.log_prob(seen.actions) - seen.log_probs)
        policy = jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - clip, 1 + clip) * advantages)
        targets = seen.values + gae_of(seen)
        each = policy - 0.5 * (values - targets) ** 2 + entropy * distribution.entropy()
        return -(each * seen.weight).sum() / seen.weight.sum()

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        _, seen = trial(meta.params, task.support, jax.random.key(0) if key is None else key)
        value = objective(meta.params, seen, gae_of(seen))
        return value, Aux(meta.state, {"loss": value, **returns_of(seen, num_episodes)})

    def gae_of(seen: Trial) -> jax.Array:
        return gae(seen.rewards, seen.values, seen.weight, discount=discount, smoothing=smoothing)

    def step(state: MetaState, tasks: Task) -> tuple[MetaState, dict[str, jax.Array]]:
        num_tasks = jax.tree.leaves(tasks)[0].shape[0]
        if num_tasks % num_parts:
            raise ValueError(f"`num_parts` is {num_parts}, which does not divide the {num_tasks} tasks of a step.")
        _, k_learn = step_keys(state)
        _, seen = jax.vmap(trial, (None, 0, 0))(state.meta.params, tasks.support, task_keys(k_learn, num_tasks))
        advantages = normalised(jax.vmap(gae_of)(seen), seen.weight)
        k_epochs = jax.random.split(jax.random.fold_in(k_learn, num_tasks), num_epochs)
        orders = jax.vmap(lambda k: jax.random.permutation(k, num_tasks))(k_epochs)

        def update(carry: tuple[PyTree, PyTree], rows: jax.Array) -> tuple[tuple[PyTree, PyTree], jax.Array]:
            params, opt_state = carry
            part = jax.tree.map(lambda a: a[rows], (seen, advantages))
            mean_loss = lambda params: jax.vmap(objective, (None, 0, 0))(params, *part).mean()
            value, grads = jax.value_and_grad(mean_loss)(params)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), value

        rows = orders.reshape(num_epochs * num_parts, -1)
        (params, opt_state), values = jax.lax.scan(update, (state.meta.params, state.opt_state), rows)
        reported = jax.tree.map(jnp.mean, jax.vmap(lambda seen: returns_of(seen, num_episodes))(seen))
        meta = Variables(params, state.meta.state)
        return MetaState(state.step + 1, meta, opt_state, state.key), {"loss": values[-1], **reported}

    return Agent(MetaLearner(init, adapt, predict, loss), step)


def ppo_optimizer(learning_rate: float = 1e-3, max_norm: float = 0.5) -> optax.GradientTransformation:
    """Return Adam on gradients of bounded norm, the outer optimizer of `rl2`.

    Example:
      >>> optimizer = ppo_optimizer(3e-4)
    """
    return optax.chain(optax.clip_by_global_norm(max_norm), optax.adam(learning_rate, eps=1e-5))


class Network(NamedTuple):
    """A recurrent policy with a value: ``apply(params, memory, inputs) -> (memory, distribution, value)``."""

    init: Callable[[Key, jax.Array, jax.Array], PyTree]
    apply: Callable[[PyTree, jax.Array, jax.Array], tuple[jax.Array, Gaussian | Categorical, jax.Array]]


def recurrent_network(action_space: Box | Discrete, hidden: int) -> Network:
    """Return a gated recurrent unit with two linear heads, one for actions and one for the value."""
    from flax import linen

    is_discrete = isinstance(action_space, Discrete)
    size = action_space.num_actions if isinstance(action_space, Discrete) else action_space.size
    cell = linen.GRUCell(hidden)
    heads = linen.Dense(size + 1, kernel_init=linen.initializers.orthogonal(0.01))

    def init(key: Key, memory: jax.Array, inputs: jax.Array) -> PyTree:
        k_cell, k_heads = jax.random.split(key)
        params = {"cell": cell.init(k_cell, memory, inputs)["params"], "heads": heads.init(k_heads, memory)["params"]}
        return params if is_discrete else {**params, "log_std": jnp.zeros((size,))}

    def apply(
        params: PyTree, memory: jax.Array, inputs: jax.Array
    ) -> tuple[jax.Array, Gaussian | Categorical, jax.Array]:
        memory, _ = cell.apply({"params": params["cell"]}, memory, inputs)
        outputs = jnp.asarray(heads.apply({"params": params["heads"]}, memory))
        action, value = outputs[..., :-1], outputs[..., -1]
        return memory, Categorical(action) if is_discrete else Gaussian(action, params["log_std"]), value

    return Network(init, apply)


def check_space(action_space: Box | Discrete, env: Environment) -> None:
    """Raise a ValueError where the environment takes other actions."""
    if env.action_space != action_space:
        raise ValueError(
            f"`action_space` is {action_space}, but the environment's is {env.action_space}. Pass that one."
        )


def normalised(values: jax.Array, weight: jax.Array) -> jax.Array:
    """Return values with mean 0 and variance 1 where the weight is 1, and 0 elsewhere."""
    count = weight.sum()
    shifted = (values - (values * weight).sum() / count) * weight
    return shifted / (jnp.sqrt((shifted**2).sum() / count) + 1e-8)


def returns_of(seen: Trial, num_episodes: int) -> dict[str, jax.Array]:
    """Return the sum of rewards of a trial, and those of its first and last episode."""
    each = seen.rewards.reshape(num_episodes, -1).sum(-1)
    return {"return": each.sum(), "return/first": each[0], "return/last": each[-1]}
