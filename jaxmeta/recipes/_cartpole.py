"""A pole is balanced on a cart whose masses and length change from task to task: adaptive control."""

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import Count
from ..recipe import recipe
from ..settings import Outer
from ._agents import Playing


@recipe
def cartpole(
    *,
    horizon: Count = 200,
    playing: Playing = Playing(algorithm="rl2", num_episodes=3, hidden=64),
    outer: Outer = Outer(num_steps=300, tasks_per_step=64, test_tasks=200),
) -> Experiment:
    """Policies for carts with poles of unknown masses and length.

    Args:
      horizon: steps of an episode.
    """
    tasks = jm.rl.cartpole(horizon=horizon)
    return playing.experiment(tasks, jm.rl.Box(1), outer, published="none; the largest return is the horizon")
