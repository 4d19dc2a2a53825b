"""Almost no inner loop: MAML whose inner steps move only the head, on features that are reused.

Raghu, Raghu, Bengio and Vinyals, 2020, https://arxiv.org/abs/1909.09157
"""

from collections.abc import Callable
from typing import Literal

import optax

from ..inner import Gradient
from ..losses import LossFn
from ..types import MetaLearner, Model
from ._maml import maml


def anil(
    model: Model,
    loss_fn: LossFn,
    *,
    head: str | Callable[[str], bool] = "head",
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01),
    num_steps: int = 5,
    first_order: bool = False,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""ANIL: with parameters $\theta = (\theta_b, \theta_h)$, only the head $\theta_h$ takes inner steps.

    The body learns through the outer gradient. Its features do not depend on the head, so they are computed
    once per task, whatever the number of steps.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      head: name of the top-level parameter group that adapts, or a predicate on paths.
      inner_optimizer, num_steps, first_order, gradient, remat, truncate: as for `maml`.

    Raises:
      ValueError: if no parameter belongs to ``head``.

    Example:
      >>> import jaxmeta as jm
      >>> learner = anil(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse, num_steps=3)
    """
    return maml(
        model,
        loss_fn,
        inner_optimizer=inner_optimizer,
        num_steps=num_steps,
        first_order=first_order,
        adapt_only=in_group(head),
        gradient=gradient,
        remat=remat,
        truncate=truncate,
    )


def in_group(group: str | Callable[[str], bool]) -> Callable[[str], bool]:
    """Return a predicate on parameter paths, from the name of a top-level group."""
    return group if callable(group) else lambda path: path.split("/")[0] == group
