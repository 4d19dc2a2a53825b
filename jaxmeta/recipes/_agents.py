"""Settings of all recipes of reinforcement learning: an algorithm, its policy, and how much it plays."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split, by_steps
from ..ranges import Examples, InnerSteps, Positive, PositiveShare, Width
from ..rl import Agent, Box, Discrete, Policy
from ..settings import Outer
from ..types import MetaLearner, Sampler

Algorithm = Literal["maml_trpo", "e_maml", "promp", "rl2"]


@dataclass(frozen=True)
class Playing:
    """The algorithm, its policy, and how much it plays."""

    algorithm: Algorithm = "maml_trpo"
    """maml_trpo, e_maml and promp adapt by policy-gradient steps; rl2 by the memory of a recurrent network"""
    num_episodes: Examples = 20
    """episodes of a task before each update, and after the last; rl2: episodes of a trial"""
    hidden: Width = 100
    """units of the policy's two hidden layers; rl2: of its memory"""
    inner_lr: Positive = 0.1
    """step size of adaptation; on held-out tasks it halves after the first update"""
    num_updates: InnerSteps = 1
    """updates of the policy in training"""
    num_test_updates: InnerSteps = 3
    """updates of the policy on held-out tasks"""
    discount: PositiveShare = 0.99
    """discount of rewards"""
    kl_episodes: Examples = 5
    """episodes of a task on which maml_trpo and e_maml compute the divergence of their trust region"""

    def experiment(self, tasks: Sampler, space: Box | Discrete, outer: Outer, *, published: str) -> Experiment:
        """Return the experiment of this algorithm on environments.

        Args:
          tasks: the distribution of environments, in training and held out.
          space: their actions.
          outer: how long it trains and how it is measured; algorithms with a trust region have no ``meta_lr``.
          published: the paper's figure and protocol, in words.
        """
        if self.algorithm in ("maml_trpo", "e_maml") and outer.meta_lr != Outer().meta_lr:
            raise ValueError(
                f"`meta_lr` is {outer.meta_lr}, but the steps of {self.algorithm} are as long as its trust region "
                "allows. Leave it out, or take promp or rl2."
            )
        optimizer = self._optimizer(outer.meta_lr)

        @by_steps
        def make(num_steps: int) -> MetaLearner:
            halved = optax.piecewise_constant_schedule(self.inner_lr, {1: 0.5})
            return self._agent(space, optimizer, optax.sgd(halved), num_steps).learner

        agent = self._agent(space, optimizer, optax.sgd(self.inner_lr), self.num_updates)
        adapts_by_steps = self.algorithm != "rl2"
        return Experiment(
            learner=agent.learner,
            step=agent.step,
            optimizer=optimizer,
            tasks=by_split(train=lambda: tasks, test=lambda: tasks),
            num_steps=outer.num_steps,
            tasks_per_step=outer.tasks_per_step,
            published=published,
            make_learner=make if adapts_by_steps else None,
            test_steps=(self.num_test_updates,) if adapts_by_steps else (),
            log_every=10,
            test_tasks=outer.test_tasks,
        )

    def _optimizer(self, meta_lr: float) -> optax.GradientTransformation:
        if self.algorithm == "rl2":
            return jm.rl.ppo_optimizer(meta_lr)
        return optax.adam(meta_lr) if self.algorithm == "promp" else optax.identity()

    def _agent(
        self,
        space: Box | Discrete,
        optimizer: optax.GradientTransformation,
        inner_optimizer: optax.GradientTransformation,
        num_steps: int,
    ) -> Agent:
        if self.algorithm == "rl2":
            return jm.rl.rl2(
                space,
                hidden=self.hidden,
                num_episodes=self.num_episodes,
                outer_optimizer=optimizer,
                discount=self.discount,
            )
        make: Any = getattr(jm.rl, self.algorithm)
        if self.algorithm == "promp":
            make = partial(make, outer_optimizer=optimizer)
        else:
            make = partial(make, kl_episodes=self.kl_episodes)
        return make(
            self._policy(space),
            inner_optimizer=inner_optimizer,
            num_steps=num_steps,
            num_episodes=self.num_episodes,
            discount=self.discount,
        )

    def _policy(self, space: Box | Discrete) -> Policy:
        size = space.size if isinstance(space, Box) else space.num_actions
        model = jm.from_linen(jm.backbones.MLP((self.hidden, self.hidden), num_outputs=size))
        return jm.rl.gaussian_policy(model, size) if isinstance(space, Box) else jm.rl.categorical_policy(model)
