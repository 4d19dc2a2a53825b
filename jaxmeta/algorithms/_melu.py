"""MeLU: recommendation to new users by MAML that adapts the decision layers and leaves the embeddings as they are.

Lee, Im, Jang, Cho and Chung, 2019, https://arxiv.org/abs/1908.00413
"""

from collections.abc import Callable
from typing import Literal

import optax

from ..inner import Gradient
from ..losses import LossFn, mse
from ..types import MetaLearner, Model
from ._maml import maml


def melu(
    model: Model,
    loss_fn: LossFn = mse,
    *,
    embeddings: str | Callable[[str], bool] = "embed",
    inner_optimizer: optax.GradientTransformation = optax.sgd(5e-6),
    num_steps: int = 1,
    first_order: bool = False,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""MeLU: with $\theta = (\theta_e, \theta_d)$, a user's ratings move the decision layers $\theta_d$ only.

    The embeddings $\theta_e$ of users and items learn through the outer gradient, so that a few ratings of one user
    do not move what all users share. Left out: the choice of items to ask a new user about.

    Args:
      model: a network on pairs of users and items, such as `backbones.Interactions`.
      loss_fn: as for `maml`.
      embeddings: how the path of every parameter of the embeddings begins, or a predicate on paths.
      inner_optimizer, num_steps, first_order, gradient, remat, truncate: as for `maml`. The rate is that of the
        authors' code, for a loss that is summed; the mean of 10 to 20 ratings takes larger ones, such as 0.01.

    Raises:
      ValueError: if no parameter is left to adapt.

    Example:
      >>> import jax, jaxmeta as jm
      >>> net = jm.backbones.Interactions({"age": 7, "genre": 18}, num_outputs=1)
      >>> data, _ = jm.datasets.invented_ratings(num_users=20, num_items=30, num_ratings=20, key=jax.random.key(0))
      >>> learner, tasks = melu(jm.from_linen(net)), jm.tasks.ratings(data)
      >>> meta = learner.init(jax.random.key(1), tasks(jax.random.key(2)))
    """
    fixed = embeddings if callable(embeddings) else lambda path: path.startswith(embeddings)
    return maml(
        model,
        loss_fn,
        inner_optimizer=inner_optimizer,
        num_steps=num_steps,
        first_order=first_order,
        adapt_only=lambda path: not fixed(path),
        gradient=gradient,
        remat=remat,
        truncate=truncate,
    )
