"""Bagging: train several members at once, each with its own start and its own draw of tasks, and average them.

Breiman, 1996, https://doi.org/10.1007/BF00058655; over a stream, Oza and Russell, 2001,
https://proceedings.mlr.press/r3/oza01a.html
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..learner import split_key
from ..types import Aux, Key, MetaLearner, PyTree, Task, Variables
from ._members import Average, average, check_average, mean_metrics, members


def bagging(
    learner: MetaLearner, *, num_members: int = 5, bootstrap: bool = False, average_of: Average = "outputs"
) -> MetaLearner:
    r"""S members $\theta_1, \dots, \theta_S$ in one `vmap`; predictions are $\frac{1}{S} \sum_s f(\theta_s, \cdot)$.

    The loss is $\sum_s w_s \ell(\theta_s)$: the gradient of a member is the one that it would have alone. Members
    differ by their initialisation and keys; with ``bootstrap`` also by their tasks, each seen $w_s \sim$ Poisson(1)
    times, which is a bootstrap sample of a long stream. For a convex loss such as cross-entropy or squared error,
    that of the average is at most the mean over members, on every task.

    Args:
      learner: any learner. `meta` is its own with a leading axis ``[S]`` on every leaf, also what `fit` leaves for
        S seeds: ``bagging(learner, num_members=S)`` turns trained seeds into an ensemble.
      num_members: S.
      bootstrap: draw each member's tasks with replacement.
      average_of: ``"outputs"`` (logits, regression), or ``"probabilities"`` for classification, which gives log
        probabilities.

    Returns:
      A `MetaLearner`; its metrics in training are the mean over members.

    Raises:
      ValueError: for ``num_members`` below 1, or an unknown ``average_of``.

    Example:
      >>> import jaxmeta as jm
      >>> member = jm.protonet(jm.from_linen(jm.backbones.Conv4(features=8)))
      >>> learner = bagging(member, num_members=3, bootstrap=True)
    """
    check_average(average_of)
    every = members(learner, num_members)

    def predict(meta: Variables, adapted: Any, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None):
        return average(every.predict(meta, adapted, x, key, weight=weight), average_of)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_times, k_members = split_key(key)
        values, aux = every.loss(meta, task, k_members)
        if bootstrap and key is not None:
            values = values * draw_times(k_times, num_members).astype(values.dtype)
        return values.sum(), Aux(aux.state, mean_metrics(aux.metrics))

    return every._replace(predict=predict, loss=loss)


def draw_times(key: Key, num: int) -> jax.Array:
    """Draw Poisson numbers of mean 1, ``[num]``, from the inverse of their distribution: without a loop in the step."""
    reached = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(10)])
    return jnp.searchsorted(jnp.asarray(reached, jnp.float32), jax.random.uniform(key, (num,), jnp.float32))
