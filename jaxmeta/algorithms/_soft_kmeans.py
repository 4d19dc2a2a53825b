"""Soft k-means prototypes: class means that unlabelled points refine, by default the queries themselves.

Ren, Triantafillou, Ravi, Snell, Swersky, Tenenbaum, Larochelle and Zemel, 2018, https://arxiv.org/abs/1803.00676
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from ..embedding import at_least_float32, embed, embed_support
from ..learner import count_ways, episodic, init_model, mask_ways
from ..losses import LossFn, cross_entropy
from ..rows import unlabelled_rows
from ..types import Batch, Key, MetaLearner, Model, PyTree, Variables
from ._metric import class_sums, sqeuclidean_logits


class Clusters(NamedTuple):
    """Class means ``[W, D]``, the weight of labelled examples behind each ``[W]``, classes present, model's state."""

    means: jax.Array
    mass: jax.Array
    ways: jax.Array | None
    state: PyTree = ()


def soft_kmeans(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    unlabelled: Literal["query", "support"] = "query",
    num_steps: int = 1,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""ProtoNet whose class means, `Clusters`, take steps of soft k-means over unlabelled points $\tilde z_j$ as well.

    With $c_w$ the mean of the $n_w$ labelled embeddings at first, each step shares out every unlabelled point,
    $q_{jw} = \mathrm{softmax}_w(-\|\tilde z_j - c_w\|^2)$, and takes the mean of all,
    $c_w \leftarrow (\sum_{i: y_i = w} z_i + \sum_j q_{jw} \tilde z_j) / (n_w + \sum_j q_{jw})$.
    Logits are $-\|f_\theta(x) - c_w\|^2$.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      unlabelled: ``"query"``: the points that are predicted, all at once. Predictions are then transductive: they
        depend on each other, and `evaluate` says so. ``"support"``: the examples of the support set with the label
        -1, which refine once, in `adapt`; predictions do not see each other.
      num_steps: steps of soft k-means; the paper found no use in more than 1. With 0 it is `protonet`.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Raises:
      ValueError: for an unknown ``unlabelled``, a negative ``num_steps``, or a support set without ``ways`` when
        ``num_ways`` is None.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_functions(lambda key, x: (), lambda variables, x: x)
      >>> support = Batch(jnp.array([[0.0], [90.0], [2.0]]), jnp.array([0, 1, -1]))
      >>> soft_kmeans(model, unlabelled="support", num_ways=2).adapt(Variables(()), support).means.tolist()
      [[1.0], [90.0]]
    """
    if unlabelled not in ("query", "support"):
        raise ValueError(f"`unlabelled` must be 'query' or 'support', got {unlabelled!r}.")
    if num_steps < 0:
        raise ValueError(f"`num_steps` must be >= 0, got {num_steps}.")

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Clusters:
        width = count_ways(support, num_ways)
        z, state = embed_support(model, meta, support, key, train=train)
        z = at_least_float32(z)
        sums, mass = class_sums(z, support.y, width, support.weight)
        clusters = Clusters(sums / jnp.where(mass == 0, 1, mass)[:, None], mass, support.ways, state)
        if unlabelled == "query":
            return clusters
        return refine(clusters, z, unlabelled_rows(support), num_steps)

    def forward(
        meta: Variables,
        adapted: Clusters,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        variables = Variables(meta.params, adapted.state)
        z, state = embed(model, variables, x, key, train=train, weight=weight)
        z = at_least_float32(z)
        if unlabelled == "query":
            adapted = refine(adapted, z, jnp.ones(z.shape[0], z.dtype) if weight is None else weight, num_steps)
        return mask_ways(sqeuclidean_logits(z, adapted.means), adapted.ways), state

    return episodic(init_model(model), adapt, forward, loss_fn, keeps_state=model.keeps_state)


def refine(clusters: Clusters, z: jax.Array, weight: jax.Array, num_steps: int) -> Clusters:
    """Return class means after steps of soft k-means over the points ``z`` ``[N, D]`` with weights ``[N]``."""
    means, mass, ways, _ = clusters
    sums = means * mass[:, None]

    def step(_: int, means: jax.Array) -> jax.Array:
        share = jax.nn.softmax(mask_ways(sqeuclidean_logits(z, means), ways)) * weight[:, None].astype(z.dtype)
        total = (mass + share.sum(0))[:, None]
        return jnp.where(total > 0, (sums + share.T @ z) / jnp.where(total > 0, total, 1), means)

    return clusters._replace(means=jax.lax.fori_loop(0, num_steps, step, means))
