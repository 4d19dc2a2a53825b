"""Pre-train a classifier by cosine similarity to class vectors, then fit new class vectors on a task's support set.

Chen, Liu, Kira, Wang and Huang, 2019, https://arxiv.org/abs/1904.04232 ("Baseline++")
"""

import optax

from ..losses import LossFn, cross_entropy
from ..types import MetaLearner, Model
from ._pretraining import FineTune, cosine_layer, transfer


def baseline_plus_plus(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    scale: float = 10.0,
    num_classes: int | None = None,
    fine_tune: FineTune = "head",
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01, momentum=0.9),
    num_steps: int = 100,
    batch_size: int | None = None,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""Baseline++: logits are $s \cos(f_\theta(x), w_c)$, in pre-training and within a task.

    Only directions matter, which keeps the examples of one class together. As `baseline` in everything else;
    ``meta.params["head"]`` is ``{"kernel": w [D, C]}``.

    Args:
      model, loss_fn: as for `baseline`.
      scale: $s$; cosines are at most 1. The paper's code takes 2 up to 200 classes, with a learned length for
        every $w_c$, and 10 beyond.
      num_classes, fine_tune, inner_optimizer, num_steps, batch_size, num_ways: as for `baseline`.

    Raises:
      ValueError: as for `baseline`, and if ``scale`` is not positive.

    Example:
      >>> import jaxmeta as jm
      >>> learner = baseline_plus_plus(jm.from_linen(jm.backbones.MLP((8,))), num_classes=64, fine_tune="all")
    """
    if scale <= 0:
        raise ValueError(f"`scale` must be positive, got {scale}: the closest class would get the lowest logit.")
    return transfer(
        model,
        cosine_layer(scale),
        loss_fn,
        num_classes=num_classes,
        fine_tune=fine_tune,
        inner_optimizer=inner_optimizer,
        num_steps=num_steps,
        batch_size=batch_size,
        num_ways=num_ways,
    )
