"""Proto-MAML: start the head of every task from its prototypes, then take MAML's steps with everything.

Triantafillou et al., 2020, https://arxiv.org/abs/1903.03096
"""

from typing import Literal

import jax
import optax

from ..embedding import at_least_float32, embed_support, flat
from ..inner import Gradient
from ..learner import Adapted, count_ways, descent, episodic, fast_weights, init_model, split_key, with_passes
from ..losses import LossFn, cross_entropy
from ..types import Batch, Key, MetaLearner, Model, PyTree, Variables
from ._metric import class_means


def proto_maml(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01),
    num_steps: int = 5,
    num_ways: int | None = None,
    first_order: bool = False,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""Proto-MAML: a linear head with $w_c = 2 \bar z_c$ and $b_c = -\|\bar z_c\|^2$, and then gradient steps.

    $\bar z_c$ is the mean embedding of class $c$. Since $-\|z - \bar z_c\|^2 = w_c^\top z + b_c - \|z\|^2$, no step
    gives `protonet`'s probabilities. Embedding and head adapt, and the outer gradient passes the prototypes. There is
    no head in `meta`, so the number of ways may differ between training and test.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.
      inner_optimizer, num_steps, first_order, gradient, remat, truncate: as for `maml`.

    Returns:
      A `MetaLearner`; ``adapt(...).params`` is ``{"model": phi, "head": {"kernel": [D, W], "bias": [W]}}``.

    Raises:
      ValueError: if ``num_steps`` is negative, or for a support set without ``ways`` when ``num_ways`` is None.

    Example:
      >>> import jaxmeta as jm
      >>> learner = proto_maml(jm.from_linen(jm.backbones.Conv4()), inner_optimizer=optax.sgd(0.1), num_steps=3)
    """
    headed = with_passes(model, params=lambda p: p["model"], outputs=classify)
    steps = descent(
        headed,
        loss_fn,
        num_steps=num_steps,
        gradient="first_order" if first_order else gradient,
        remat=remat,
        truncate=truncate,
    )

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        width, (k_embed, k_steps) = count_ways(support, num_ways), split_key(key)
        z, _ = embed_support(model, meta, support, k_embed, train=train)
        means = class_means(at_least_float32(z), support.y, width, support.weight)
        head = {"kernel": 2 * means.T, "bias": -(means**2).sum(1)}
        start = Variables({"model": meta.params, "head": head}, meta.state)
        return steps(start, inner_optimizer, support, k_steps, train=train)

    return episodic(init_model(model), adapt, fast_weights(headed), loss_fn, keeps_state=model.keeps_state)


def classify(z: jax.Array, params: PyTree) -> jax.Array:
    """Return the logits of the linear head in ``params`` for a model's outputs."""
    return at_least_float32(flat(z)) @ params["head"]["kernel"] + params["head"]["bias"][None]
