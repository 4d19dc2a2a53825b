"""Matrix factorisation: items have learned factors, and a new user's are solved for.

Koren, Bell and Volinsky, 2009, https://doi.org/10.1109/MC.2009.263
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..learner import episodic
from ..losses import LossFn, mse
from ..types import Batch, Key, MetaLearner, PyTree, Task, Variables


class Folded(NamedTuple):
    """A user's bias and factors, ``[1 + R]``."""

    factors: jax.Array


def factorisation(
    num_items: int,
    loss_fn: LossFn = mse,
    *,
    rank: int = 8,
    item: str = "item",
    centre: float = 0.0,
    init_penalty: float = 1.0,
) -> MetaLearner:
    r"""Matrix factorisation with biases, $\hat y_{ui} = \mu + b_i + b_u + p_u^\top q_i$.

    $\mu$, the items' biases $b_i$ and factors $q_i$ are learned. A user is folded in by ridge regression on the
    support ratings: $(b_u, p_u)$ minimises
    $\sum_i (y_i - \hat y_{ui})^2 + \lambda_b b_u^2 + \lambda \lVert p_u \rVert^2$, with learned $\lambda_b$ and
    $\lambda$. All is trained by the error on query ratings. With ``rank=0`` this is the bias model: $b_u$ is the mean
    residual, shrunk as $\sum_i r_i / (n + \lambda_b)$. An item that training never met has $b_i = 0$ and factors near
    0.

    Args:
      num_items: the number of items.
      loss_fn: as for `maml`.
      rank: the length of a vector of factors.
      item: the name of the feature with the item's row, int ``[N]``.
      centre: $\mu$ at the start: the mean rating.
      init_penalty: $\lambda$ and $\lambda_b$ at the start.

    Returns:
      A `MetaLearner`, whose outputs and targets are ``[N, 1]``.

    Raises:
      ValueError: if a number is out of range, or the inputs have no such feature.

    Example:
      >>> learner = factorisation(3, rank=0, centre=3.0)
      >>> support = Batch({"item": jnp.array([0, 1])}, jnp.array([[5.0], [4.0]]))
      >>> meta = learner.init(jax.random.key(0), Task(support, support))
      >>> learner.predict(meta, learner.adapt(meta, support), {"item": jnp.array([2])})  # 3 + (2 + 1) / (2 + 1)
      Array([[4.]], dtype=float32)
    """
    if num_items < 1 or rank < 0 or not init_penalty > 0:
        raise ValueError(
            f"`num_items` must be >= 1, `rank` >= 0 and `init_penalty` > 0, got {num_items}, {rank}, {init_penalty}."
        )

    def init(key: Key, task: Task) -> Variables:
        _rows(task.support.x)
        params = {
            "mean": jnp.float32(centre),
            "bias": jnp.zeros(num_items),
            "factors": 0.1 * jax.random.normal(key, (num_items, rank)),
            "log_penalty": jnp.full(2, math.log(init_penalty)),
        }
        return Variables(params)

    def known(meta: Variables, x: PyTree) -> tuple[jax.Array, jax.Array]:
        """Return what all users share, ``[N]``, and the design ``[N, 1 + R]`` of what is the user's own."""
        rows, p = _rows(x), meta.params
        factors = p["factors"][rows]
        return p["mean"] + p["bias"][rows], jnp.concatenate([jnp.ones_like(factors, shape=(len(rows), 1)), factors], -1)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Folded:
        shared, design = known(meta, support.x)
        penalty = jnp.exp(meta.params["log_penalty"])[jnp.minimum(jnp.arange(1 + rank), 1)]
        wide = jnp.promote_types(design.dtype, jnp.float32)
        weighted = design if support.weight is None else design * support.weight[:, None].astype(design.dtype)
        gram = (weighted.T @ design + jnp.diag(penalty)).astype(wide)
        moment = (weighted.T @ (support.y[:, 0].astype(shared.dtype) - shared)).astype(wide)
        return Folded(jax.scipy.linalg.solve(gram, moment, assume_a="pos").astype(design.dtype))

    def forward(
        meta: Variables,
        adapted: Folded,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ) -> tuple[jax.Array, PyTree]:
        shared, design = known(meta, x)
        return (shared + design @ adapted.factors)[:, None], meta.state

    def _rows(x: Any) -> jax.Array:
        if not isinstance(x, dict) or item not in x or not jnp.issubdtype(x[item].dtype, jnp.integer):
            raise ValueError(
                f"`item` is {item!r}, but the inputs have no such row of items: {jax.tree.map(jnp.shape, x)}."
            )
        return x[item]

    return episodic(init, adapt, forward, loss_fn, empty_support=True)
