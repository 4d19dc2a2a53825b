"""Transformer neural processes: support points attend to one another, and queries to the support points.

Nguyen and Grover, 2022, https://arxiv.org/abs/2207.04179
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .. import layers
from ..embedding import embed, embed_support
from ..learner import episodic, split_key
from ..losses import Gaussian, LossFn, gaussian_nll
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._set_encoders import embedding_size, targets_as_inputs


class Context(NamedTuple):
    """The support tokens before each layer ``[layers, N, H]`` and their weights ``[N]``; the model's state."""

    tokens: jax.Array
    weight: jax.Array
    state: PyTree = ()


def transformer_process(
    model: Model,
    loss_fn: LossFn = gaussian_nll,
    *,
    hidden: int = 64,
    num_layers: int = 3,
    num_heads: int = 4,
    min_std: float = 0.05,
) -> MetaLearner:
    r"""TNP-D: tokens of $(x_i, y_i)$ and of $(x_j, 0)$ pass through layers in which all attend to the former alone.

    A layer is $h \leftarrow \mathrm{LN}(h + \mathrm{attention}(h, S))$,
    $h \leftarrow \mathrm{LN}(h + \mathrm{MLP}(h))$, where $S$ are the support tokens before the layer. `adapt` runs
    the support tokens once and keeps $S$ of every layer, as a language model keeps keys and values. Queries do not see
    each other and there are no places, so that the order of the support set does not matter. Outputs are normal
    distributions of their own for every entry, as those of `neural_process`; an empty support set gives the prior.
    Left out: the variants with joint distributions.

    Args:
      model: the embedding ``[N, ...] -> [N, D]`` of inputs; `jaxmeta.identity` for inputs as they are.
      loss_fn: on a `losses.Gaussian` of arrays ``[N, Y]`` and targets ``[N, Y]``.
      hidden: H, the width of tokens; the layers' MLPs have twice as many hidden units.
      num_layers, num_heads: of the transformer.
      min_std: the smallest standard deviation, in units of the targets.

    Raises:
      ValueError: if ``num_heads`` does not divide ``hidden``, a number is below 1, or targets are labels.

    Example:
      >>> import jaxmeta as jm
      >>> learner, task = transformer_process(jm.identity(), hidden=8), jm.tasks.sinusoid()(jax.random.key(0))
      >>> meta = learner.init(jax.random.key(1), task)
      >>> learner.predict(meta, learner.adapt(meta, task.support), task.query.x).std.shape
      (10, 1)
    """
    if min(num_layers, num_heads, hidden) < 1 or hidden % num_heads:
        raise ValueError(
            f"`num_layers` must be >= 1 and `num_heads` divide `hidden` = {hidden}, got {num_layers} and {num_heads}."
        )

    def init(key: Key, task: Task) -> Variables:
        k_model, k_in, k_out, *keys = jax.random.split(key, 3 + num_layers)
        variables, num_targets = model.init(k_model, task.support.x), _targets(task.support).shape[1]
        size = embedding_size(model, variables, task.support.x)
        params = {
            "model": variables.params,
            "tokens": layers.mlp_init(k_in, (size + num_targets + 1, hidden, hidden)),
            "layers": [_layer_init(k, hidden) for k in keys],
            "head": layers.mlp_init(k_out, (hidden, hidden, 2 * num_targets)),
        }
        return Variables(params, variables.state)

    def tokens(p: PyTree, z: jax.Array, y: jax.Array, is_known: bool) -> jax.Array:
        flag = jnp.full((len(z), 1), float(is_known), z.dtype)
        inputs = jnp.concatenate([z, y.astype(z.dtype), flag], -1)
        return layers.mlp(p["tokens"], inputs.astype(p["tokens"]["dense0"]["bias"].dtype))

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Context:
        p, (k_model,) = meta.params, split_key(key, 1)
        z, state = embed_support(model, Variables(p["model"], meta.state), support, k_model, train=train)
        h, seen = tokens(p, z, _targets(support), True), []
        weight = jnp.ones(len(z), h.dtype) if support.weight is None else support.weight.astype(h.dtype)
        for layer in p["layers"]:
            seen.append(h)
            h = _layer(layer, h, h, weight, num_heads)
        return Context(jnp.stack(seen), weight, state)

    def forward(
        meta: Variables,
        adapted: Context,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ) -> tuple[Gaussian, PyTree]:
        p = meta.params
        z, state = embed(model, Variables(p["model"], adapted.state), x, key, train=train, weight=weight)
        num_targets = p["head"]["dense1"]["bias"].shape[0] // 2
        h = tokens(p, z, jnp.zeros((len(z), num_targets)), False)
        for layer, seen in zip(p["layers"], adapted.tokens, strict=True):
            h = _layer(layer, h, seen, adapted.weight, num_heads)
        mean, std = jnp.split(layers.mlp(p["head"], h), 2, -1)
        return Gaussian(mean, min_std + (1 - min_std) * jax.nn.softplus(std)), state

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state, empty_support=True)


def _layer_init(key: Key, hidden: int) -> PyTree:
    *keys, k_mlp = jax.random.split(key, 5)
    attention = {name: layers.dense_init(k, hidden, hidden) for name, k in zip("qkvo", keys, strict=True)}
    norms = {name: {"scale": jnp.ones(hidden), "bias": jnp.zeros(hidden)} for name in ("norm0", "norm1")}
    return {**attention, **norms, "mlp": layers.mlp_init(k_mlp, (hidden, 2 * hidden, hidden))}


def _layer(p: PyTree, h: jax.Array, seen: jax.Array, weight: jax.Array, num_heads: int) -> jax.Array:
    """Return tokens ``[Q, H]`` after one layer, in which they attend to the tokens ``seen`` ``[N, H]``."""
    split = lambda a: a.reshape(len(a), num_heads, -1)
    q, k, v = (split(layers.dense(p[name], a)) for name, a in (("q", h), ("k", seen), ("v", seen)))
    logits = jnp.einsum("qhd,nhd->hqn", q, k) * k.shape[-1] ** -0.5
    logits = jnp.where((weight != 0)[None, None], logits, jnp.finfo(logits.dtype).min)
    share = jax.nn.softmax(logits) * weight[None, None]
    total = share.sum(-1, keepdims=True)
    found = jnp.einsum("hqn,nhd->qhd", share / jnp.where(total == 0, 1, total), v).reshape(h.shape)
    h = _norm(p["norm0"], h + layers.dense(p["o"], found))
    return _norm(p["norm1"], h + layers.mlp(p["mlp"], h))


def _norm(p: PyTree, h: jax.Array) -> jax.Array:
    """Normalise tokens over their features."""
    centred = h - h.mean(-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * p["scale"][None] + p["bias"][None]


def _targets(support: Batch) -> jax.Array:
    if jnp.issubdtype(support.y.dtype, jnp.integer):
        raise ValueError(f"Targets of `transformer_process` must be numbers [N, Y], got {support.y.dtype}.")
    return targets_as_inputs(support)
