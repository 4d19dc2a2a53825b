"""Relation networks: a learned module judges whether a query belongs to a class.

Sung, Yang, Zhang, Xiang, Torr and Hospedales, 2018, https://arxiv.org/abs/1711.06025
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from ..embedding import flat, output_shape, support_pass
from ..learner import count_ways, episodic, mask_ways, split_key
from ..losses import LossFn, sigmoid_mse
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._metric import class_sums


class Classes(NamedTuple):
    """Class features ``[W, ..., D]``, the classes that are present, bool ``[W]``, and the state of both networks."""

    features: jax.Array
    ways: jax.Array | None
    state: PyTree = ()


def relation(
    model: Model,
    loss_fn: LossFn = sigmoid_mse,
    *,
    module: Model | None = None,
    hidden: Sequence[int] = (64, 64),
    class_feature: Literal["mean", "sum"] = "mean",
    num_ways: int | None = None,
) -> MetaLearner:
    r"""Relation networks: logits are $r_\phi([c_w, f_\theta(x)])$ with a learned $r_\phi$ and class features $c_w$.

    The paper's relation score is the sigmoid of a logit. Features keep their axes: maps ``[N, H, W, C]`` become pairs
    ``[P, H, W, 2C]``. ``meta.params`` and ``meta.state`` are ``{"model": ..., "relation": ...}``.

    Args:
      model: the embedding ``[N, ...] -> [N, ..., D]``.
      loss_fn: `sigmoid_mse`, the paper's loss, or `cross_entropy`; as for `maml`.
      module: $r_\phi$, pairs ``[P, ..., 2D]`` (the class first) to scores ``[P]`` or ``[P, 1]``; by default a
        perceptron on flattened pairs.
      hidden: widths of the perceptron's hidden layers.
      class_feature: ``"mean"`` over the class's examples, so the number of shots may change after training, or their
        ``"sum"`` as in the paper. For one shot they agree.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Returns:
      A `MetaLearner`; `adapt` returns `Classes`.

    Raises:
      ValueError: for an unknown ``class_feature``, a ``module`` that does not give one score per pair, or a support set
        without ``ways`` when ``num_ways`` is None.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_functions(lambda key, x: (), lambda variables, x: x)
      >>> product = jm.from_functions(lambda key, x: (), lambda variables, x: x[:, 0] * x[:, 1])
      >>> learner = relation(model, module=product)
      >>> support = Batch(jnp.array([[1.0], [3.0], [5.0]]), jnp.array([0, 0, 1]), ways=jnp.ones(2, bool))
      >>> meta = learner.init(jax.random.key(0), Task(support, support))
      >>> learner.predict(meta, learner.adapt(meta, support), jnp.array([[10.0]])).tolist()
      [[20.0, 50.0]]
    """
    if class_feature not in ("mean", "sum"):
        raise ValueError(f"`class_feature` must be 'mean' or 'sum', got {class_feature!r}.")
    module = _perceptron(hidden) if module is None else module

    def init(key: Key, task: Task) -> Variables:
        k_model, k_relation = jax.random.split(key)
        variables = model.init(k_model, task.support.x)
        z = output_shape(model, variables, task.support.x)
        pairs = jnp.zeros((1, *z.shape[1:-1], 2 * z.shape[-1]), z.dtype)
        judge = module.init(k_relation, pairs)
        score = output_shape(module, judge, pairs)
        if score.shape not in ((1,), (1, 1)):
            raise ValueError(
                f"`module` must give one score per pair, [P] or [P, 1], got {score.shape} for pairs {pairs.shape}."
            )
        params, state = ({"model": a, "relation": b} for a, b in zip(variables, judge, strict=True))
        return Variables(params, state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Classes:
        width = count_ways(support, num_ways)
        k_model, k_relation = split_key(key)
        run = support_pass(model)
        z, state = run(_part(meta, "model"), support.x, train=train, weight=support.weight, key=k_model)
        sums, total = class_sums(flat(z), support.y, width, support.weight)
        means = sums / jnp.where(total == 0, 1, total)[:, None]
        features = (means if class_feature == "mean" else sums).reshape(width, *z.shape[1:])
        # The statistics of the support set's own pairs, for a module that normalises with them.
        pairs, weight = _pairs(features, z), _pair_weight(z, support.weight, width, support.ways)
        judge = support_pass(module)
        _, judged = judge(_part(meta, "relation"), pairs, train=train, weight=weight, key=k_relation)
        return Classes(features, support.ways, {"model": state, "relation": judged})

    def forward(
        meta: Variables,
        adapted: Classes,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        k_model, k_relation = split_key(key)
        at = Variables(meta.params, adapted.state)
        z, state = model.apply(_part(at, "model"), x, train=train, weight=weight, key=k_model)
        pairs, width = _pairs(adapted.features, z), adapted.features.shape[0]
        pair_weight = _pair_weight(z, weight, width, adapted.ways)
        scores, judged = module.apply(_part(at, "relation"), pairs, train=train, weight=pair_weight, key=k_relation)
        kept = {
            "model": state if model.keeps_state else meta.state["model"],
            "relation": judged if module.keeps_state else meta.state["relation"],
        }
        return mask_ways(scores.reshape(-1, width), adapted.ways), kept

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state or module.keeps_state)


def _part(meta: Variables, name: str) -> Variables:
    return Variables(meta.params[name], meta.state[name])


def _pairs(features: jax.Array, z: jax.Array) -> jax.Array:
    """Every example beside every class: ``[W, ..., D]`` and ``[N, ..., D]`` to ``[N * W, ..., 2D]``."""
    shape = z.shape[0], features.shape[0], *z.shape[1:]
    both = jnp.broadcast_to(features[None], shape), jnp.broadcast_to(z[:, None], shape)
    return jnp.concatenate(both, -1).reshape(-1, *z.shape[1:-1], 2 * z.shape[-1])


def _pair_weight(z: jax.Array, weight: jax.Array | None, width: int, ways: jax.Array | None) -> jax.Array | None:
    """Hides the pairs of padded examples and of absent classes."""
    if weight is None and ways is None:
        return None
    rows = jnp.ones(z.shape[0]) if weight is None else weight
    columns = jnp.ones(width, rows.dtype) if ways is None else ways.astype(rows.dtype)
    return (rows[:, None] * columns[None]).reshape(-1)


def _perceptron(hidden: Sequence[int]) -> Model:
    """Dense layers with ReLU on flattened pairs, to one score each."""
    from flax import linen

    layers = [layer for width in hidden for layer in (linen.Dense(width), linen.relu)]
    net = linen.Sequential([flat, *layers, linen.Dense(1)])

    def apply(
        variables: Variables, x: PyTree, *, train: bool = False, weight: jax.Array | None = None, key: Key | None = None
    ):
        del train, weight, key  # every pair is judged alone
        return net.apply({"params": variables.params}, x), variables.state

    return Model(lambda key, x: Variables(net.init(key, x)["params"]), apply)
