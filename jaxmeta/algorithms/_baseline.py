"""Pre-train an ordinary classifier, then fit a new last layer, or fine-tune everything, on a task's support set.

Chen, Liu, Kira, Wang and Huang, 2019, https://arxiv.org/abs/1904.04232 ("Baseline")
"""

import optax

from ..losses import LossFn, cross_entropy
from ..types import MetaLearner, Model
from ._pretraining import FineTune, linear_layer, transfer


def baseline(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    num_classes: int | None = None,
    fine_tune: FineTune = "head",
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01, momentum=0.9),
    num_steps: int = 100,
    batch_size: int | None = None,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""Transfer learning: train on global labels, evaluate on episodes; the strong and simple comparison.

    Training minimises $L(f_\theta(x) W + b, y)$ over mini-batches of `tasks.batches`, whose labels are those of the
    whole data set. A task gets a fresh $W', b'$, fitted by gradient steps on its support set with $\theta$ fixed
    (``"head"``) or moving along (``"all"``).

    ``meta.params`` is ``{"model": theta, "head": {"kernel": W [D, C], "bias": b [C]}}``. `loss` wants global labels in
    ``task.query`` and never looks at ``task.support``; `adapt` and `predict` want episodes. The two numbers of
    classes differ, so train and evaluate with two samplers.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened. With BatchNorm, ``norm="running"`` is
        what such classifiers use.
      loss_fn: for both stages.
      num_classes: classes C of pre-training, for batches without ``ways``.
      fine_tune: ``"head"``: only the new head is fitted, on features computed once; ``"all"``: the whole network.
      inner_optimizer: of a task's steps. The paper's: step size 0.01, momentum 0.9, weight decay 1e-3.
      num_steps: of a task; the paper takes 100 passes over the support set.
      batch_size: support examples per step, in shuffled passes (4 in the paper); all of them by default.
      num_ways: the number of classes, for support sets without ``ways``.

    Returns:
      A `MetaLearner`; `adapt` returns `Adapted` with the new head, and with ``"all"`` the new body.

    Raises:
      ValueError: for an unknown ``fine_tune``, a negative ``num_steps``, an unknown number of classes, or a `loss`
        on labels that are not those of pre-training.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, jaxmeta as jm
      >>> data = jm.datasets.from_arrays(np.eye(6, dtype=np.float32).repeat(4, 0), np.arange(6).repeat(4))
      >>> learner = baseline(jm.from_linen(jm.backbones.MLP((8,))))
      >>> state = jm.init(learner, jm.tasks.batches(data, batch_size=16), optax.adam(1e-2), key=jax.random.key(0))
      >>> state.meta.params["head"]["kernel"].shape
      (8, 6)
      >>> episode = jm.tasks.episodes(data, num_ways=3, num_shots=1, num_queries=2)(jax.random.key(1))
      >>> learner.predict(state.meta, learner.adapt(state.meta, episode.support), episode.query.x).shape
      (6, 3)
    """
    return transfer(
        model,
        linear_layer(),
        loss_fn,
        num_classes=num_classes,
        fine_tune=fine_tune,
        inner_optimizer=inner_optimizer,
        num_steps=num_steps,
        batch_size=batch_size,
        num_ways=num_ways,
    )
