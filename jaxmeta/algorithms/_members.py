"""What ensembles share: members side by side under one `vmap`, and averages of their predictions. S members."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from ..learner import weighted_predict
from ..types import Key, MetaLearner

Average = Literal["outputs", "probabilities"]


def members(learner: MetaLearner, num_members: int) -> MetaLearner:
    """``num_members`` copies of a learner: leaves of `meta` and `adapted`, outputs and losses get a leading axis [S].

    The layout of `meta` is also that of S seeds trained by `fit`.
    """
    if num_members < 1:
        raise ValueError(f"`num_members` must be at least 1, got {num_members}.")
    predict_one = weighted_predict(learner)
    each = lambda function, *args: jax.vmap(function, axis_size=num_members)(*args)
    keys = lambda key: None if key is None else jax.random.split(key, num_members)

    def init(key: Key, task):
        return each(lambda key: learner.init(key, task), jax.random.split(key, num_members))

    def adapt(meta, support, key: Key | None = None):
        return each(lambda meta, key: learner.adapt(meta, support, key), meta, keys(key))

    def predict(meta, adapted, x, key: Key | None = None, *, weight=None):
        one = lambda meta, adapted, key: predict_one(meta, adapted, x, key, weight=weight)
        return each(one, meta, adapted, keys(key))

    def loss(meta, task, key: Key | None = None):
        return each(lambda meta, key: learner.loss(meta, task, key), meta, keys(key))

    return MetaLearner(init, adapt, predict, loss)


def average(outputs: Any, how: Average) -> Any:
    """The mean over members ``[S, ...]`` of outputs, or of probabilities, as their logarithm.

    It is taken as a deviation from the first member: equal members give exactly their output, and the lowest
    finite logit of an absent way does not overflow.

    Example:
      >>> average(jnp.array([[0.0, 2.0], [2.0, 4.0]]), "outputs").tolist()
      [1.0, 3.0]
    """
    if how == "probabilities":
        logits = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
        return jax.nn.logsumexp(jax.nn.log_softmax(logits, -1), 0) - jnp.log(len(outputs)).astype(logits.dtype)
    return jax.tree.map(lambda o: o[0] + (o - o[:1]).mean(0), outputs)


def mean_metrics(metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Of each metric ``[S]``, the mean over members."""
    return {name: values.mean(0) for name, values in metrics.items()}


def check_average(how: str) -> None:
    """Raises a ValueError for an unknown average."""
    if how not in ("outputs", "probabilities"):
        raise ValueError(f"`average` must be 'outputs' or 'probabilities', got {how!r}.")
