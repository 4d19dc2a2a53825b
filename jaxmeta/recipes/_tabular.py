"""Random tabular decision processes with RL2: Duan et al., 2016, https://arxiv.org/abs/1611.02779, section 3.2."""

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import Count, Dims
from ..recipe import recipe
from ..settings import Outer
from ._agents import Playing


@recipe
def tabular(
    *,
    num_states: Dims = 10,
    num_actions: Dims = 5,
    horizon: Count = 10,
    playing: Playing = Playing(algorithm="rl2", num_episodes=10, hidden=64),
    outer: Outer = Outer(num_steps=300, tasks_per_step=256, test_tasks=1_000),
) -> Experiment:
    """Policies for processes whose rewards and transitions are random.

    Args:
      num_states: states of a process.
      num_actions: actions in each.
      horizon: steps of an episode.
    """
    tasks = jm.rl.tabular(num_states=num_states, num_actions=num_actions, horizon=horizon)
    return playing.experiment(tasks, jm.rl.Discrete(num_actions), outer, published="none for these settings")
