"""Prototypical networks: a class is the mean of its embedded support examples.

Snell, Swersky and Zemel, 2017, https://arxiv.org/abs/1703.05175
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from ..learner import episodic, init_model, mask_ways
from ..losses import LossFn, cross_entropy
from ..types import Batch, MetaLearner, Model, PyTree, Variables


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
      >>> import jaxmeta as jm
      >>> learner = protonet(jm.from_functions(lambda key, x: (), lambda variables, x: x), num_ways=2)
      >>> support = Batch(jnp.array([[0.0], [2.0], [9.0]]), jnp.array([0, 0, 1]))
      >>> learner.adapt(Variables(()), support).means.tolist()
      [[1.0], [9.0]]
    """
    if distance not in _LOGITS:
        raise ValueError(f"`distance` must be one of {sorted(_LOGITS)}, got {distance!r}.")
    scale = {"sqeuclidean": 1.0, "cosine": 10.0}[distance] if scale is None else scale

    def adapt(meta: Variables, support: Batch, key=None, *, train: bool = False) -> Prototypes:
        width = num_ways if support.ways is None else len(support.ways)
        if width is None:
            raise ValueError("The number of ways is unknown: fill `Batch.ways`, or build `protonet(..., num_ways=5)`.")
        support_pass = model.apply_support or model.apply
        z, state = support_pass(meta, support.x, train=train, weight=support.weight, key=key)
        return Prototypes(class_means(_flat(z), support.y, width, support.weight), support.ways, state)

    def forward(meta: Variables, adapted: Prototypes, x, key=None, *, train: bool = False, weight=None):
        z, state = model.apply(Variables(meta.params, adapted.state), x, train=train, weight=weight, key=key)
        return mask_ways(scale * _LOGITS[distance](_flat(z), adapted.means), adapted.ways), state

    return episodic(init_model(model), adapt, forward, loss_fn, keeps_state=model.keeps_state)


def class_means(z: jax.Array, labels: jax.Array, num_ways: int, weight: jax.Array | None = None) -> jax.Array:
    """Weighted mean ``[W, D]`` of the embeddings ``z`` ``[N, D]`` of each class; zero for a class without any.

    Example:
      >>> class_means(jnp.array([[1.0], [3.0]]), jnp.array([0, 0]), 2).tolist()
      [[2.0], [0.0]]
    """
    member = jax.nn.one_hot(labels, num_ways, dtype=z.dtype)
    member = member if weight is None else member * weight[:, None].astype(z.dtype)
    total = member.sum(0)[:, None]
    return member.T @ z / jnp.where(total == 0, 1, total)


def sqeuclidean_logits(z: jax.Array, means: jax.Array) -> jax.Array:
    r"""$-\|z - c\|^2$, ``[N, W]``, in at least float32, from the differences themselves: no cancellation."""
    return -jnp.sum((z[:, None] - means[None]) ** 2, -1, dtype=jnp.promote_types(z.dtype, jnp.float32))


def cosine_logits(z: jax.Array, means: jax.Array) -> jax.Array:
    """Cosine similarity ``[N, W]``."""
    return unit(z) @ unit(means).T


def unit(z: jax.Array) -> jax.Array:
    """Rows of length 1. A zero row, as of an absent way, stays zero: the square root there would have no derivative."""
    square = jnp.sum(z**2, -1, keepdims=True)
    some = square > jnp.finfo(z.dtype).tiny
    return jnp.where(some, z * jax.lax.rsqrt(jnp.where(some, square, 1)), 0)


def _flat(z: jax.Array) -> jax.Array:
    return z.reshape(z.shape[0], -1)


_LOGITS = {"sqeuclidean": sqeuclidean_logits, "cosine": cosine_logits}
