"""Bernoulli bandits with RL2: Duan et al., 2016, https://arxiv.org/abs/1611.02779, section 3.1."""

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import Dims
from ..recipe import recipe
from ..settings import Outer
from ._agents import Playing


@recipe
def bandits(
    *,
    num_arms: Dims = 5,
    playing: Playing = Playing(algorithm="rl2", num_episodes=10, hidden=64),
    outer: Outer = Outer(num_steps=300, tasks_per_step=512, test_tasks=2_000),
) -> Experiment:
    """Policies that find the best of several arms. The Gittins index earns 6.6 in 10 pulls of 5 arms.

    Args:
      num_arms: arms of a bandit; their probabilities are uniform on [0, 1].
    """
    published = "6.7 in 10 pulls of 5 arms, Gittins index 6.6 (RL2 paper, table 1, from memory)"
    return playing.experiment(jm.rl.bandits(num_arms), jm.rl.Discrete(num_arms), outer, published=published)
