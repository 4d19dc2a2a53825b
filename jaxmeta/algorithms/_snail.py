"""SNAIL: causal convolutions and attention over the support set, read as a sequence that ends with the query.

Mishra, Rohaninejad, Chen and Abbeel, 2018, https://arxiv.org/abs/1707.03141
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .. import layers
from ..embedding import embed, embed_support
from ..learner import episodic, mask_ways, split_key
from ..losses import LossFn, cross_entropy
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._set_encoders import embedding_size, in_sequence, targets_as_inputs

Layers = tuple[jax.Array, ...]


class Past(NamedTuple):
    """The support set after reading.

    Attributes:
      layers: the inputs of each layer, ``[N, C]``.
      num_rows: number of rows that count.
      ways: the classes that are present, bool ``[W]``, or None.
      state: the model's state.
    """

    layers: Layers
    num_rows: jax.Array
    ways: jax.Array | None
    state: PyTree = ()


def snail(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    num_ways: int | None = None,
    filters: int = 128,
    attention: Sequence[tuple[int, int]] = ((64, 32), (256, 128), (512, 256)),
) -> MetaLearner:
    r"""SNAIL: the sequence $(x_1, y_1), \dots, (x_N, y_N), (x_q, 0)$ through layers that append features to its rows.

    Attention appends $\mathrm{softmax}(q k^T / \sqrt{d}) v$ over a row and those before it. A temporal convolution
    appends $\tanh(u) \circ \sigma(g)$ of convolutions $u, g$ of a row with the one $2^j$ before it, for all $j \ge 0$
    within the sequence. The last row gives the answer. As rows never look ahead, `adapt` runs the support set once,
    shuffled in training, and keeps the inputs of each layer; every query is one more row.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; `jaxmeta.identity` for inputs as they are.
      loss_fn: on logits ``[N, W]`` or, for float targets ``[N, D]``, outputs of their shape.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.
      filters: features that each convolution appends.
      attention: sizes (key, value) of the attention layers; the convolutions stand between them.

    Raises:
      ValueError: if ``attention`` is empty, or the number of ways is unknown.

    Example:
      >>> import jaxmeta as jm
      >>> learner = snail(jm.identity(), filters=4, attention=((4, 4), (4, 4)))
      >>> support = Batch(jnp.ones((3, 5)), jnp.array([0, 1, 1]), ways=jnp.ones(2, bool))
      >>> meta = learner.init(jax.random.key(0), Task(support, support))
      >>> [layer.shape for layer in learner.adapt(meta, support).layers]
      [(3, 7), (3, 11), (3, 15), (3, 19)]
    """
    if not attention:
        raise ValueError("`attention` needs at least one pair of sizes (key, value), got none.")

    def init(key: Key, task: Task) -> Variables:
        k_model, k_head, k_layers = jax.random.split(key, 3)
        variables = model.init(k_model, task.support.x)
        num_rows, num_outputs = targets_as_inputs(task.support, num_ways).shape
        width, blocks = embedding_size(model, variables, task.support.x) + num_outputs, {}
        for i, sizes in enumerate(attention):
            for _ in range(num_rows.bit_length() if i else 0):  # reaches 1 + 2 + 4 + ... >= num_rows back
                name = f"{len(blocks):02d}_convolution"
                blocks[name] = layers.dense_init(jax.random.fold_in(k_layers, len(blocks)), 2 * width, 2 * filters)
                width += filters
            keys = jax.random.split(jax.random.fold_in(k_layers, len(blocks)), 3)
            parts = zip(("query", "key", "value"), keys, (sizes[0], *sizes), strict=True)
            blocks[f"{len(blocks):02d}_attention"] = {
                part: layers.dense_init(k, width, size) for part, k, size in parts
            }
            width += sizes[1]
        head = layers.dense_init(k_head, width, num_outputs)
        return Variables({"model": variables.params, "layers": blocks, "head": head}, variables.state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Past:
        k_order, k_model = split_key(key)
        support = in_sequence(support, k_order if train else None)
        variables, dtype = Variables(meta.params["model"], meta.state), meta.params["head"]["bias"].dtype
        z, state = embed_support(model, variables, support, k_model, train=train)
        rows = jnp.concatenate([z.astype(dtype), targets_as_inputs(support, num_ways).astype(dtype)], -1)
        _, seen = _through(meta.params["layers"], rows, jnp.arange(len(rows)))
        count = jnp.asarray(len(rows)) if support.weight is None else (support.weight != 0).sum()
        return Past(seen, count, support.ways, state)

    def forward(
        meta: Variables,
        adapted: Past,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        variables, head = Variables(meta.params["model"], adapted.state), meta.params["head"]
        z, state = embed(model, variables, x, key, train=train, weight=weight)
        unknown = jnp.zeros((z.shape[0], len(head["bias"])), head["bias"].dtype)
        rows = jnp.concatenate([z.astype(unknown.dtype), unknown], -1)
        rows, _ = _through(meta.params["layers"], rows, jnp.full(z.shape[0], adapted.num_rows), adapted.layers)
        return mask_ways(layers.dense(head, rows), adapted.ways), state

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state, empty_support=True)


def _through(blocks: PyTree, x: jax.Array, position: jax.Array, past: Layers | None = None) -> tuple[jax.Array, Layers]:
    """Run rows ``[M, C]`` at given positions of the sequence through all layers; return the inputs of each layer too.

    A row sees itself and the rows of ``past`` before its position; by default these are the rows themselves.
    """
    given, dilation = [], 1
    for i, name in enumerate(sorted(blocks)):
        given.append(x)
        before, layer = x if past is None else past[i], blocks[name]
        if "query" in layer:
            new, dilation = _attend(layer, x, before, position), 1
        else:
            new, dilation = _convolve(layer, x, before, position - dilation), 2 * dilation
        x = jnp.concatenate([x, new], -1)
    return x, tuple(given)


def _attend(layer: PyTree, x: jax.Array, past: jax.Array, position: jax.Array) -> jax.Array:
    """Average a row's own value and earlier ones, by the softmax of its query's scaled products with their keys."""
    query, key, value = (layers.dense(layer[part], x) for part in ("query", "key", "value"))
    scale, seen = query.shape[-1] ** -0.5, jnp.arange(len(past))[None] < position[:, None]
    earlier = jnp.where(seen, scale * (query @ layers.dense(layer["key"], past).T), jnp.finfo(x.dtype).min)
    weights = jax.nn.softmax(jnp.concatenate([earlier, scale * (query * key).sum(-1, keepdims=True)], -1))
    return weights[:, :-1] @ layers.dense(layer["value"], past) + weights[:, -1:] * value


def _convolve(layer: PyTree, x: jax.Array, past: jax.Array, position: jax.Array) -> jax.Array:
    """Return a gated convolution of each row with the one of ``past`` at ``position``, zeros before the beginning."""
    earlier = jnp.where(position[:, None] >= 0, past[jnp.maximum(position, 0)], 0)
    new, gate = jnp.split(layers.dense(layer, jnp.concatenate([x, earlier], -1)), 2, -1)
    return jnp.tanh(new) * jax.nn.sigmoid(gate)
