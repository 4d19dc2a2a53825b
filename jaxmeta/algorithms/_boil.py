"""Body only in the inner loop: MAML whose inner steps move everything but the head.

Oh, Yoo, Kim and Yun, 2021, https://arxiv.org/abs/2008.08882
"""

from collections.abc import Callable

from ..losses import LossFn
from ..types import MetaLearner, Model
from ._anil import in_group
from ._maml import maml


def boil(model: Model, loss_fn: LossFn, *, head: str | Callable[[str], bool] = "head", **maml_options) -> MetaLearner:
    r"""BOIL: with parameters $\theta = (\theta_b, \theta_h)$, only the body $\theta_b$ takes inner steps.

    The head is meta-learned and fixed within a task, so representations have to change.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      head: name of the top-level parameter group that stays, or a predicate on paths.
      **maml_options: ``inner_optimizer``, ``num_steps`` and the other options of `maml`.

    Raises:
      ValueError: if every parameter belongs to ``head``.

    Example:
      >>> import jaxmeta as jm
      >>> learner = boil(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse, num_steps=3)
    """
    is_head = in_group(head)
    return maml(model, loss_fn, adapt_only=lambda path: not is_head(path), **maml_options)
