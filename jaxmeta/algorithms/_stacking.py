"""Stacking: learn how to combine the query predictions of different learners.

Wolpert, 1992, https://doi.org/10.1016/S0893-6080(05)80023-1; a linear combination as in Breiman, 1996,
https://doi.org/10.1007/BF00117832
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..learner import batch_metrics, mask_ways, predict_rows, split_key
from ..losses import LossFn, batch_loss, cross_entropy
from ..types import Aux, Key, MetaLearner, PyTree, Task, Variables


def stacking(
    learners: Sequence[MetaLearner], loss_fn: LossFn = cross_entropy, *, metas: Sequence[Variables] | None = None
) -> MetaLearner:
    r"""Predictions $\sum_s c_s f_s$ with learned weights $c \in \mathbb{R}^S$, equal at the start: their mean.

    The weights minimise $L_Q(\sum_s c_s \, \mathrm{sg}(f_s))$, on query predictions after adaptation, of examples
    that members have not seen. They scale logits as well as choose between members, and know no class:
    labels are arbitrary.

    Args:
      learners: the members, of any kinds; outputs of one shape.
      loss_fn: as for `maml`, of the combination.
      metas: the members' trained `meta`, frozen, in the order of ``learners``: they are kept in `meta.state` and only
        the weights are learned. By default members are initialised here and train along, each on its own loss.

    Returns:
      A `MetaLearner`. `meta.params` is ``{"weight": [S]}``, with ``"members"`` where they train along. The metrics of
      the combination are named ``"stacked_..."``; the others are the mean over members that train.

    Raises:
      ValueError: if there are no ``learners``, or another number of ``metas``.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.Conv4(num_outputs=5, features=8))
      >>> learner = stacking([jm.maml(model, jm.losses.cross_entropy), jm.protonet(model)])
    """
    if not learners or (metas is not None and len(metas) != len(learners)):
        raise ValueError(
            f"`learners` must hold at least one learner, and `metas` one trained meta for each, got {len(learners)} "
            f"and {None if metas is None else len(metas)}."
        )
    learners = tuple(learners)
    keys = lambda key: split_key(key, len(learners))

    def own(meta: Variables) -> list[Variables]:
        if metas is not None:
            return list(meta.state)
        return [Variables(*pair) for pair in zip(meta.params["members"], meta.state, strict=True)]

    def init(key: Key, task: Task) -> Variables:
        weight = jnp.full(len(learners), 1 / len(learners))
        if metas is not None:
            return Variables({"weight": weight}, tuple(metas))
        params, states = zip(*(one.init(k, task) for one, k in zip(learners, keys(key), strict=True)), strict=True)
        return Variables({"weight": weight, "members": params}, states)

    def adapt(meta: Variables, support: Any, key: Key | None = None):
        each = zip(learners, own(meta), keys(key), strict=True)
        return [one.adapt(m, support, k) for one, m, k in each], support.ways

    def predict(meta: Variables, adapted: Any, x: PyTree, key: Key | None = None, *, weight: jax.Array | None = None):
        each = zip(learners, own(meta), adapted[0], keys(key), strict=True)
        return combine(
            [predict_rows(one, m, a, x, k, weight=weight) for one, m, a, k in each], meta.params["weight"], adapted[1]
        )

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_adapt, k_query, k_learn = split_key(key, 3)
        fixed = Variables({**jax.lax.stop_gradient(meta.params), "weight": meta.params["weight"]}, meta.state)
        adapted = jax.lax.stop_gradient(adapt(fixed, task.support, k_adapt))
        outputs = predict(fixed, adapted, task.query.x, k_query, weight=task.query.weight)
        value = batch_loss(loss_fn, outputs, task.query)
        reported = {"stacked_loss": value, **{f"stacked_{k}": v for k, v in batch_metrics(outputs, task.query).items()}}
        if metas is not None:
            return value, Aux(meta.state, {"loss": value, **reported})
        each = [one.loss(m, task, k) for one, m, k in zip(learners, own(meta), keys(k_learn), strict=True)]
        values, auxes = zip(*each, strict=True)
        shared = set.intersection(*(set(aux.metrics) for aux in auxes))
        reported |= {name: sum(aux.metrics[name] for aux in auxes) / len(auxes) for name in sorted(shared)}
        return value + sum(values), Aux(tuple(aux.state for aux in auxes), reported)

    return MetaLearner(init, adapt, predict, loss)


def combine(outputs: list[jax.Array], weight: jax.Array, ways: jax.Array | None = None) -> jax.Array:
    r"""Return $\sum_s c_s o_s$ of outputs of one shape, absent ways masked anew.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> combine([jnp.zeros((1, 2)), jnp.ones((1, 2))], jnp.array([0.5, 0.25])).tolist()
      [[0.25, 0.25]]
    """
    if len({o.shape for o in outputs}) != 1:
        raise ValueError(f"`learners` must give outputs of one shape, got {[o.shape for o in outputs]}.")
    zeroed = [o if ways is None else jnp.where(ways, o, 0) for o in outputs]
    total = sum(c.astype(o.dtype) * o for c, o in zip(weight, zeroed, strict=True))
    return mask_ways(total, ways)
