"""Neural processes: a set of points becomes a representation, from which any other point's distribution is read.

Garnelo et al., 2018, https://arxiv.org/abs/1807.01613 (conditional)
Kim et al., 2019, https://arxiv.org/abs/1901.05761 (attentive)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import layers
from ..embedding import embed, embed_support
from ..learner import episodic, split_key
from ..losses import Gaussian, LossFn, gaussian_nll
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._set_encoders import embedding_size, targets_as_inputs


class Representation(NamedTuple):
    """Values and keys ``[N, R]`` with weights ``[N]``, or one value ``[1, R]`` for the whole set; the model's state."""

    values: jax.Array
    keys: jax.Array | None = None
    weight: jax.Array | None = None
    state: PyTree = ()


def neural_process(
    model: Model,
    loss_fn: LossFn = gaussian_nll,
    *,
    num_heads: int = 0,
    hidden: int = 128,
    num_layers: int = 3,
    min_std: float = 0.1,
) -> MetaLearner:
    r"""The conditional neural process, or with ``num_heads`` the deterministic path of the attentive one.

    Every support pair becomes $r_i = h(x_i, y_i)$. A query's $r$ is their mean, or multi-head attention over them by
    the similarity of its input to theirs, and $(\mu, s) = g(x, r)$ is decoded to $\mathcal N(\mu, \sigma^2)$ with
    $\sigma = \sigma_{\min} + (1 - \sigma_{\min}) \log(1 + e^s)$. The order of the support set does not matter, and
    queries do not see each other. An empty support set gives the prior. Both papers train with random numbers of
    support points, and with the support points among the queries. Left out: self-attention among support points, and
    the latent path.

    Args:
      model: the embedding ``[N, ...] -> [N, D]`` of inputs; `jaxmeta.identity` for inputs as they are.
      loss_fn: on a `losses.Gaussian` of arrays ``[N, Y]`` and targets ``[N, Y]``.
      num_heads: heads of the attention; 0 takes the mean.
      hidden: width of all layers, and R.
      num_layers: layers of $h$ and of $g$.
      min_std: $\sigma_{\min}$, which keeps the likelihood bounded; in units of the targets.

    Raises:
      ValueError: if ``num_heads`` does not divide ``hidden``, or targets are not ``[N, Y]`` numbers.

    Example:
      >>> import jaxmeta as jm
      >>> learner, task = neural_process(jm.identity(), hidden=8), jm.tasks.sinusoid()(jax.random.key(0))
      >>> meta = learner.init(jax.random.key(1), task)
      >>> learner.predict(meta, learner.adapt(meta, task.support), task.query.x).std.shape
      (10, 1)
    """
    if num_heads < 0 or (num_heads and hidden % num_heads):
        raise ValueError(f"`num_heads` must be 0 or divide `hidden` = {hidden}, got {num_heads}.")

    def init(key: Key, task: Task) -> Variables:
        k_model, k_encoder, k_decoder, k_where, k_merge = jax.random.split(key, 5)
        variables, (_, num_targets) = model.init(k_model, task.support.x), _targets(task.support).shape
        size, widths = embedding_size(model, variables, task.support.x), (hidden,) * num_layers
        params = {
            "model": variables.params,
            "encoder": layers.mlp_init(k_encoder, (size + num_targets, *widths)),
            "decoder": layers.mlp_init(k_decoder, (size + hidden, *widths, 2 * num_targets)),
        }
        if num_heads:
            params["where"] = layers.mlp_init(k_where, (size, hidden, hidden))
            params["merge"] = layers.dense_init(k_merge, hidden, hidden)
        return Variables(params, variables.state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Representation:
        p, (k_model,) = meta.params, split_key(key, 1)
        z, state = embed_support(model, Variables(p["model"], meta.state), support, k_model, train=train)
        values = layers.mlp(p["encoder"], _inputs(p, z, _targets(support)))
        weight = jnp.ones(len(z), values.dtype) if support.weight is None else support.weight.astype(values.dtype)
        if num_heads:
            return Representation(values, layers.mlp(p["where"], _inputs(p, z)), weight, state)
        return Representation(_normalised(weight)[None] @ values, state=state)

    def forward(
        meta: Variables,
        adapted: Representation,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        p = meta.params
        z, state = embed(model, Variables(p["model"], adapted.state), x, key, train=train, weight=weight)
        r = jnp.broadcast_to(adapted.values[:1], (z.shape[0], hidden))
        if num_heads:
            r = layers.dense(p["merge"], _attend(layers.mlp(p["where"], _inputs(p, z)), adapted, num_heads))
        mean, std = jnp.split(layers.mlp(p["decoder"], _inputs(p, z, r)), 2, -1)
        return Gaussian(mean, min_std + (1 - min_std) * jax.nn.softplus(std)), state

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state, empty_support=True)


def _attend(queries: jax.Array, support: Any, num_heads: int) -> jax.Array:
    """Return each head's weighted mean of its share of the values, ``[Q, R]``; zeros where no support point counts."""
    split = lambda a: a.reshape(len(a), num_heads, -1)
    queries, keys, values = split(queries), split(support.keys), split(support.values)
    logits = jnp.einsum("qhd,nhd->hqn", queries, keys) * keys.shape[-1] ** -0.5
    present = (support.weight != 0)[None, None]
    weights = jax.nn.softmax(jnp.where(present, logits, jnp.finfo(logits.dtype).min)) * support.weight[None, None]
    return jnp.einsum("hqn,nhd->qhd", _normalised(weights), values).reshape(queries.shape[0], -1)


def _normalised(weight: jax.Array) -> jax.Array:
    """Scale weights to sum 1 over the last axis; zeros stay."""
    total = weight.sum(-1, keepdims=True)
    return weight / jnp.where(total == 0, 1, total)


def _inputs(params: PyTree, *parts: jax.Array) -> jax.Array:
    """Join features, in the parameters' dtype."""
    return jnp.concatenate(parts, -1).astype(params["decoder"]["dense0"]["bias"].dtype)


def _targets(support: Batch) -> jax.Array:
    if jnp.issubdtype(support.y.dtype, jnp.integer):
        raise ValueError(
            "`neural_process` predicts a normal distribution: targets must be numbers [N, Y], got "
            f"{support.y.dtype} {support.y.shape}. For labels take `protonet` or `mann`."
        )
    return targets_as_inputs(support)
