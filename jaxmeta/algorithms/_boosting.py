"""Boosting over tasks: later members train most on the tasks that earlier ones do badly.

After Freund and Schapire, 1997, https://doi.org/10.1006/jcss.1997.1504, and, over a stream, Oza and Russell, 2001,
https://proceedings.mlr.press/r3/oza01a.html, with tasks in the place of examples.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..types import Aux, Key, MetaLearner, PyTree, Task, Variables
from ._members import Average, average, check_average, mean_metrics, members


class Boosted(NamedTuple):
    """The state of boosting: the members' own states, and running means of the difficulty of tasks.

    Attributes:
      members: the members' states, each leaf ``[S, ...]``.
      difficulty: ``[S - 1]``, moving average of the earlier members' loss, from zero.
      mass: ``[S - 1]``, the same average of ones, which removes the bias of that start.
    """

    members: PyTree
    difficulty: jax.Array
    mass: jax.Array


def boosting(
    learner: MetaLearner,
    *,
    num_members: int = 5,
    power: float = 1.0,
    decay: float = 0.99,
    average_of: Average = "outputs",
) -> MetaLearner:
    r"""S members in one `vmap`; member s weights a task by the loss of the members before it.

    The loss is $\sum_s w_s \ell(\theta_s)$ with $w_1 = 1$ and, with the query losses $e_k$ of the earlier members,

    $$ w_s = \Big(\frac{\bar e_s}{\langle \bar e_s \rangle}\Big)^{p}, \qquad
       \bar e_s = \frac{1}{s - 1} \sum_{k < s} e_k, $$

    a constant for the gradient, where $\langle\cdot\rangle$ is a moving average over meta-steps: with $p = 1$ weights
    are 1 on average. Predictions are averaged over members.

    Args:
      learner: any learner; its query loss is read from the metric ``"loss"``. `meta.params` is its own with a leading
        axis ``[S]`` on every leaf.
      num_members: S.
      power: $p$, the preference for hard tasks; 0 is `bagging` without a bootstrap.
      decay: of the moving average, per meta-step.
      average_of: as for `bagging`.

    Returns:
      A `MetaLearner`; its metrics in training are the mean over members.

    Raises:
      ValueError: for ``num_members`` below 1, a negative ``power``, ``decay`` outside [0, 1), or an unknown
        ``average_of``.

    Example:
      >>> import jaxmeta as jm
      >>> learner = boosting(jm.protonet(jm.from_linen(jm.backbones.Conv4(features=8))), num_members=3)
    """
    check_average(average_of)
    if power < 0 or not 0 <= decay < 1:
        raise ValueError(f"`power` must be >= 0 and `decay` in [0, 1), got {power} and {decay}.")
    every = members(learner, num_members)
    own = lambda meta: Variables(meta.params, meta.state.members)

    def init(key: Key, task: Task) -> Variables:
        variables = every.init(key, task)
        zeros = jnp.zeros(num_members - 1)
        return Variables(variables.params, Boosted(variables.state, zeros, zeros))

    def adapt(meta: Variables, support: Any, key: Key | None = None):
        return every.adapt(own(meta), support, key)

    def predict(meta: Variables, adapted: Any, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None):
        return average(every.predict(own(meta), adapted, x, key, weight=weight), average_of)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        values, aux = every.loss(own(meta), task, key)
        errors = jax.lax.stop_gradient(aux.metrics.get("loss", values)).astype(values.dtype)
        earlier = jnp.cumsum(errors)[:-1] / jnp.arange(1, num_members, dtype=errors.dtype)
        _, difficulty, mass = meta.state
        known = difficulty > 0  # nothing is, in the first step
        ratio = jnp.where(known, earlier * mass.astype(earlier.dtype) / jnp.where(known, difficulty, 1), 1.0)
        weights = jnp.concatenate([jnp.ones_like(errors[:1]), ratio**power])
        moved = lambda old, new: old + ((1 - decay) * (new - old)).astype(old.dtype)
        state = Boosted(aux.state, moved(difficulty, earlier), moved(mass, jnp.ones_like(mass)))
        return jnp.sum(weights * values), Aux(state, mean_metrics(aux.metrics))

    return MetaLearner(init, adapt, predict, loss)
