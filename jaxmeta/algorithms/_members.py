"""The core of ensembles: S members under one `vmap`, and averages of their predictions."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from ..learner import predict_rows
from ..types import Key, MetaLearner, PyTree, Task, Variables

Average = Literal["outputs", "probabilities"]


def members(learner: MetaLearner, num_members: int) -> MetaLearner:
    """Return copies of a learner as one: leaves of `meta` and `adapted`, outputs and losses get a leading axis [S].

    The layout of `meta` is also that of S seeds trained by `fit`.
    """
    if num_members < 1:
        raise ValueError(f"`num_members` must be at least 1, got {num_members}.")
    each = lambda function, *args: jax.vmap(function, axis_size=num_members)(*args)
    keys = lambda key: None if key is None else jax.random.split(key, num_members)

    def init(key: Key, task: Task):
        return each(lambda key: learner.init(key, task), jax.random.split(key, num_members))

    def adapt(meta: Variables, support: Any, key: Key | None = None):
        return each(lambda meta, key: learner.adapt(meta, support, key), meta, keys(key))

    def predict(meta: Variables, adapted: Any, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None):
        one = lambda meta, adapted, key: predict_rows(learner, meta, adapted, x, key, weight=weight)
        return each(one, meta, adapted, keys(key))

    def loss(meta: Variables, task: Task, key: Key | None = None):
        return each(lambda meta, key: learner.loss(meta, task, key), meta, keys(key))

    return MetaLearner(init, adapt, predict, loss)


def average(outputs: Any, average_of: Average) -> Any:
    """Return the mean over members ``[S, ...]`` of outputs, or the logarithm of that of probabilities.

    It is taken as a deviation from the first member: equal members give exactly their output, and the lowest
    finite logit of an absent way does not overflow.

    Example:
      >>> average(jnp.array([[0.0, 2.0], [2.0, 4.0]]), "outputs").tolist()
      [1.0, 3.0]
    """
    if average_of == "probabilities":
        logits = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
        return jax.nn.logsumexp(jax.nn.log_softmax(logits, -1), 0) - jnp.log(len(outputs)).astype(logits.dtype)
    return jax.tree.map(lambda o: o[0] + (o - o[:1]).mean(0), outputs)


def mean_metrics(metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Return the mean over members of each metric ``[S]``."""
    return {name: values.mean(0) for name, values in metrics.items()}


def check_average(average_of: str) -> None:
    """Raise a ValueError for an unknown average."""
    if average_of not in ("outputs", "probabilities"):
        raise ValueError(f"`average_of` must be 'outputs' or 'probabilities', got {average_of!r}.")
