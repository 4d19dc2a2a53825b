"""Body only in the inner loop: MAML whose inner steps move everything but the head.

Oh, Yoo, Kim and Yun, 2021, https://arxiv.org/abs/2008.08882
"""

from collections.abc import Callable
from typing import Literal

import optax

from ..inner import Gradient
from ..losses import LossFn
from ..types import MetaLearner, Model
from ._anil import in_group
from ._maml import maml


def boil(
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
    r"""BOIL: with parameters $\theta = (\theta_b, \theta_h)$, only the body $\theta_b$ takes inner steps.

    The head is meta-learned and fixed within a task, so representations have to change.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      head: name of the top-level parameter group that stays, or a predicate on paths.
      inner_optimizer, num_steps, first_order, gradient, remat, truncate: as for `maml`.

    Raises:
      ValueError: if every parameter belongs to ``head``.

    Example:
      >>> import jaxmeta as jm
      >>> learner = boil(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse, num_steps=3)
    """
    is_head = in_group(head)
    return maml(
        model,
        loss_fn,
        inner_optimizer=inner_optimizer,
        num_steps=num_steps,
        first_order=first_order,
        adapt_only=lambda path: not is_head(path),
        gradient=gradient,
        remat=remat,
        truncate=truncate,
    )
