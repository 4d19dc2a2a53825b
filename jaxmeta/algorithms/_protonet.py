"""Prototypical networks: a class is the mean of its embedded support examples.

Snell, Swersky and Zemel, 2017, https://arxiv.org/abs/1703.05175
"""

from typing import Literal, NamedTuple

import jax

from ..embedding import embed, embed_support
from ..learner import count_ways, episodic, init_model, mask_ways
from ..losses import LossFn, cross_entropy
from ..types import Batch, Key, MetaLearner, Model, PyTree, Variables
from ._metric import class_means, cosine_logits, sqeuclidean_logits


class Prototypes(NamedTuple):
    """Class means ``[W, D]``, the classes that are present, bool ``[W]``, and the model's state."""

    means: jax.Array
    ways: jax.Array | None
    state: PyTree = ()


def protonet(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    distance: Literal["sqeuclidean", "cosine"] = "sqeuclidean",
    scale: float | None = None,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""ProtoNet: logits are $-s \, d(f_\theta(x), c_w)$ with prototypes $c_w = \overline{f_\theta(x_i)}_{y_i = w}$.

    $d$ is the squared Euclidean distance, or minus the cosine similarity. Nothing is fitted within a task,
    and the number of ways may differ between training and test.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      distance: ``"sqeuclidean"`` or ``"cosine"``.
      scale: $s$; 1 for distances and 10 for cosines by default, which are at most 1.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Raises:
      ValueError: for an unknown ``distance``, or a support set without ``ways`` when ``num_ways`` is None.

    Example:
      >>> import jax.numpy as jnp, jaxmeta as jm
      >>> learner = protonet(jm.from_functions(lambda key, x: (), lambda variables, x: x), num_ways=2)
      >>> support = Batch(jnp.array([[0.0], [2.0], [9.0]]), jnp.array([0, 0, 1]))
      >>> learner.adapt(Variables(()), support).means.tolist()
      [[1.0], [9.0]]
    """
    if distance not in _LOGITS:
        raise ValueError(f"`distance` must be one of {sorted(_LOGITS)}, got {distance!r}.")
    scale = {"sqeuclidean": 1.0, "cosine": 10.0}[distance] if scale is None else scale

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Prototypes:
        width = count_ways(support, num_ways)
        z, state = embed_support(model, meta, support, key, train=train)
        return Prototypes(class_means(z, support.y, width, support.weight), support.ways, state)

    def forward(
        meta: Variables,
        adapted: Prototypes,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        variables = Variables(meta.params, adapted.state)
        z, state = embed(model, variables, x, key, train=train, weight=weight)
        return mask_ways(scale * _LOGITS[distance](z, adapted.means), adapted.ways), state

    return episodic(init_model(model), adapt, forward, loss_fn, keeps_state=model.keeps_state)


_LOGITS = {"sqeuclidean": sqeuclidean_logits, "cosine": cosine_logits}
