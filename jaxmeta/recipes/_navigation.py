"""A point in the plane finds a hidden goal: Finn, Abbeel and Levine, 2017, https://arxiv.org/abs/1703.03400, 5.3."""

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import Count, Positive
from ..recipe import recipe
from ..settings import Outer
from ._agents import Playing


@recipe
def navigation(
    *,
    reach: Positive = 0.5,
    horizon: Count = 100,
    playing: Playing = Playing(),
    outer: Outer = Outer(num_steps=100, tasks_per_step=40, test_tasks=40),
) -> Experiment:
    """Policies that find goals in the plane. Published: returns -40.4, -11.7, -3.3, -3.2 after 0 to 3 updates.

    Args:
      reach: largest coordinate of a goal.
      horizon: steps of an episode.
    """
    tasks = jm.rl.navigation(reach=reach, horizon=horizon)
    published = "returns -40.4, -11.7, -3.3, -3.2 after 0, 1, 2, 3 updates (MAML's code, 2-D navigation, 40 tasks)"
    return playing.experiment(tasks, jm.rl.Box(2), outer, published=published)
