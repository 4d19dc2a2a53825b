"""Learners that classify all queries of a task at once, on features that are trained like those of prototypes.

Letters: N support examples, Q queries, W ways, D features.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ..embedding import at_least_float32, embed, embed_support
from ..learner import count_ways, episodic, init_model, mask_ways
from ..losses import LossFn
from ..types import Batch, Key, MetaLearner, Model, PyTree, Variables
from ._metric import membership, sqeuclidean_logits


class Labelled(NamedTuple):
    """Support features ``[N, D]``, the weight of each in each class ``[N, W]``, classes present; the model's state."""

    z: jax.Array
    member: jax.Array
    ways: jax.Array | None
    state: PyTree = ()

    @property
    def means(self) -> jax.Array:
        """Class means ``[W, D]``."""
        total = self.member.sum(0)
        return self.member.T @ self.z / jnp.where(total == 0, 1, total)[:, None]


class Solve(Protocol):
    """Return logits ``[Q, W]`` for queries ``z`` ``[Q, D]`` with weights ``[Q]``, all at once."""

    def __call__(self, support: Labelled, z: jax.Array, weight: jax.Array, /) -> jax.Array: ...


class Transform(Protocol):
    """Return features ``[N, D]`` in the form in which they are compared."""

    def __call__(self, z: jax.Array, /) -> jax.Array: ...


def all_at_once(
    model: Model,
    loss_fn: LossFn,
    solve: Solve,
    transform: Transform,
    *,
    train_scale: float,
    num_ways: int | None = None,
) -> MetaLearner:
    """Return a transductive learner: training compares queries to class means, and predictions call ``solve``.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      solve: the classification of all queries of a task.
      transform: applied to features of the support set and of queries.
      train_scale: the factor of squared distances in training.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.
    """

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Labelled:
        width = count_ways(support, num_ways)
        z, state = embed_support(model, meta, support, key, train=train)
        z = transform(at_least_float32(z))
        return Labelled(z, membership(support.y, width, support.weight, z.dtype), support.ways, state)

    def forward(
        meta: Variables,
        adapted: Labelled,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ) -> tuple[jax.Array, PyTree]:
        z, state = embed(model, Variables(meta.params, adapted.state), x, key, train=train, weight=weight)
        z = transform(at_least_float32(z))
        if train:
            logits = train_scale * sqeuclidean_logits(z, adapted.means)
        else:
            counts = jnp.ones(z.shape[0], z.dtype) if weight is None else (weight != 0).astype(z.dtype)
            logits = solve(adapted, z, counts)
        return mask_ways(logits, adapted.ways), state

    return episodic(init_model(model), adapt, forward, loss_fn, keeps_state=model.keeps_state)
