"""TIM: the classifier of a task maximises the mutual information between its queries and their labels.

Boudiaf, Masud Ziko, Rony, Dolz, Piantanida and Ben Ayed, 2020, https://arxiv.org/abs/2008.11297
"""

import jax
import jax.numpy as jnp

from ..inner import adam, descend
from ..learner import mask_ways
from ..losses import LossFn, cross_entropy, weighted_mean
from ..types import MetaLearner, Model
from ._metric import sqeuclidean_logits, unit
from ._transductive import Labelled, all_at_once


def tim(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    num_steps: int = 1000,
    learning_rate: float = 1e-4,
    temperature: float = 15.0,
    support_weight: float = 0.1,
    marginal_weight: float = 1.0,
    conditional_weight: float = 0.1,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""TIM-GD: $\min_C \lambda \, \mathrm{CE}(S) - \beta H(\overline{p}) + \alpha \overline{H(p_j)}$ by Adam.

    Features $z$ have length 1, and $p_j = \mathrm{softmax}_w(-\tau \|z_j - c_w\|^2 / 2)$ with prototypes $C$ that
    start as class means. Over the queries, $H(\overline p)$ is the entropy of their mean prediction, which rewards
    classes of equal size, and $\overline{H(p_j)}$ the mean entropy. Predictions are transductive, and `evaluate` says
    so. Training takes the class means as they are: take features of any training, such as `rfs` or `protonet`.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      num_steps, learning_rate: of Adam in a task. The defaults are those of the authors' code; a hundred steps with
        rate 1e-3 come close.
      temperature: $\tau$.
      support_weight, marginal_weight, conditional_weight: $\lambda$, $\beta$ and $\alpha$.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Raises:
      ValueError: if ``num_steps`` is negative, or a support set has no ``ways`` when ``num_ways`` is None.

    Example:
      >>> import jaxmeta as jm
      >>> learner = tim(jm.identity(), num_steps=5, num_ways=2)
      >>> support = jm.Batch(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1]))
      >>> meta = learner.init(jax.random.key(0), jm.Task(support, support))
      >>> learner.predict(meta, learner.adapt(meta, support), jnp.array([[2.0, 1.0], [1.0, 3.0]])).argmax(1).tolist()
      [0, 1]
    """
    if num_steps < 0:
        raise ValueError(f"`num_steps` must be >= 0, got {num_steps}.")

    def solve(support: Labelled, z: jax.Array, weight: jax.Array) -> jax.Array:
        logits = lambda z, means: mask_ways(0.5 * temperature * sqeuclidean_logits(z, means), support.ways)
        counts = support.member.sum(1)

        def objective(means: jax.Array, state: None, _: None) -> tuple[jax.Array, None]:
            known = -(support.member * jax.nn.log_softmax(logits(support.z, means))).sum() / _or_one(counts.sum())
            log_p = jax.nn.log_softmax(logits(z, means))
            each = weighted_mean(_entropy(log_p), weight)
            marginal = (jnp.exp(log_p) * weight[:, None]).sum(0) / _or_one(weight.sum())
            spread = _entropy(jnp.log(jnp.maximum(marginal, jnp.finfo(z.dtype).tiny)))
            return support_weight * known - marginal_weight * spread + conditional_weight * each, state

        return logits(z, descend(objective, support.means, adam(learning_rate), num_steps).params)

    return all_at_once(model, loss_fn, solve, unit, train_scale=0.5 * temperature, num_ways=num_ways)


def _entropy(log_p: jax.Array) -> jax.Array:
    """Return the entropy over the last axis; classes of probability 0 add nothing."""
    p = jnp.exp(log_p)
    return -jnp.where(p > 0, p * jnp.where(p > 0, log_p, 0), 0).sum(-1)


def _or_one(total: jax.Array) -> jax.Array:
    return jnp.where(total == 0, 1, total)
