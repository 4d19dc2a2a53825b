"""Matching networks: a query takes the labels of the support examples that it attends to.

Vinyals, Blundell, Lillicrap, Kavukcuoglu and Wierstra, 2016, https://arxiv.org/abs/1606.04080
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..embedding import at_least_float32, embed, embed_support, output_shape
from ..learner import count_ways, episodic, mask_ways
from ..losses import LossFn, cross_entropy
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._metric import cosine_logits, membership


class EmbeddedSupport(NamedTuple):
    """The embedded support set.

    Attributes:
      embeddings: ``[N, D]``.
      member: the weight of each example in each class, ``[N, W]``; a row of zeros is padding.
      ways: the classes that are present, bool ``[W]``, or None.
      state: the model's state after the support pass.
    """

    embeddings: jax.Array
    member: jax.Array
    ways: jax.Array | None
    state: PyTree = ()


def matching(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    full_context: bool = False,
    num_steps: int = 5,
    scale: float = 10.0,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""Matching networks: $p(y = w) = \sum_{i: y_i = w} a_i$ with $a = \mathrm{softmax}_i(s \cos(f(x), g(x_i)))$.

    The outputs are $\log \sum_{i: y_i = w} e^{s \cos(f(x), g(x_i))}$, logits whose softmax is $p$. Without full context
    $f = g$ is the model, and ``meta`` is the model's alone. With it both see the whole support set. From the model's
    embedding $z$, and the outputs of an LSTM over the support set in either direction,
    $g(x_i) = z_i + \overrightarrow{h}_i + \overleftarrow{h}_i$. From an LSTM that reads it $K$ times by attention,
    $f(x) = h_K$ with $h_0 = z$, $r_k = \sum_i \mathrm{softmax}_i(h_k^T g(x_i)) \, g(x_i)$ and
    $h_{k+1} = z + \mathrm{LSTM}(z, [h_k, r_k])$. Then ``meta.params`` is
    ``{"model": ..., "forward": ..., "backward": ..., "attention": ...}``, and predictions depend on the order of the
    support set, as in the paper.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      full_context: embed every example in the context of the support set; the paper's "FCE".
      num_steps: $K$, reads of the support set by the LSTM of the query. Unused without full context.
      scale: $s$; 1 in the paper, where no class can then be much likelier than another.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Returns:
      A `MetaLearner`; `adapt` returns an `EmbeddedSupport`.

    Raises:
      ValueError: for a negative ``num_steps``, or a support set without ``ways`` when ``num_ways`` is None.

    Example:
      >>> import jaxmeta as jm
      >>> learner = matching(jm.from_functions(lambda key, x: (), lambda variables, x: x), num_ways=2)
      >>> support = Batch(jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1]))
      >>> memory = learner.adapt(Variables(()), support)
      >>> learner.predict(Variables(()), memory, jnp.array([[3.0, 4.0]])).round()
      Array([[6., 8.]], dtype=float32)
    """
    if num_steps < 0:
        raise ValueError(f"`num_steps` must be >= 0, got {num_steps}.")

    def init(key: Key, task: Task) -> Variables:
        if not full_context:
            return model.init(key, task.support.x)
        k_model, *keys = jax.random.split(key, 4)
        variables = model.init(k_model, task.support.x)
        z = output_shape(model, variables, task.support.x)
        width, dtype = math.prod(z.shape[1:]), jnp.promote_types(z.dtype, jnp.float32)
        sees = {"forward": 2, "backward": 2, "attention": 3}  # vectors of that width
        cells = {name: _lstm_init(k, n, width, dtype) for k, (name, n) in zip(keys, sees.items(), strict=True)}
        return Variables({"model": variables.params, **cells}, variables.state)

    def embedding(meta: Variables, state: PyTree) -> Variables:
        return Variables(meta.params["model"] if full_context else meta.params, state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> EmbeddedSupport:
        width = count_ways(support, num_ways)
        z, state = embed_support(model, embedding(meta, meta.state), support, key, train=train)
        member = membership(support.y, width, support.weight, jnp.promote_types(z.dtype, jnp.float32))
        z = _in_sequence(meta.params, z, member.any(1)) if full_context else z
        return EmbeddedSupport(z, member, support.ways, state)

    def forward(
        meta: Variables,
        adapted: EmbeddedSupport,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        variables = embedding(meta, adapted.state)
        z, state = embed(model, variables, x, key, train=train, weight=weight)
        z = _attending(meta.params["attention"], z, adapted, num_steps) if full_context else z
        scores = scale * cosine_logits(at_least_float32(z), at_least_float32(adapted.embeddings))
        votes = jax.nn.logsumexp(_weighted(scores[:, :, None], adapted.member[None]), axis=1)
        return mask_ways(votes, adapted.ways), state

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state)


def _weighted(scores: jax.Array, weight: jax.Array) -> jax.Array:
    """Return scores whose exponentials are ``weight`` times as large; the lowest finite one for weight 0."""
    some = weight > 0
    log_weight = jnp.log(jnp.where(some, weight, 1)).astype(scores.dtype)
    return jnp.where(some, scores + log_weight, jnp.finfo(scores.dtype).min)


def _in_sequence(cells: PyTree, z: jax.Array, present: jax.Array) -> jax.Array:
    """Return $g$: each embedding plus the outputs of an LSTM from either end; absent rows are passed over."""
    z = z.astype(jnp.result_type(z, cells["forward"]["kernel"]))

    def step(
        cell: PyTree, carry: tuple[jax.Array, jax.Array], row: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        z, here = row
        new = _lstm(cell, jnp.concatenate([z, carry[0]]), carry[1])
        carry = jax.tree.map(partial(jnp.where, here), new, carry)
        return carry, carry[0]

    start = jnp.zeros_like(z[0]), jnp.zeros_like(z[0])
    _, ahead = jax.lax.scan(partial(step, cells["forward"]), start, (z, present))
    _, back = jax.lax.scan(partial(step, cells["backward"]), start, (z, present), reverse=True)
    return z + ahead + back


def _attending(cell: PyTree, z: jax.Array, memory: EmbeddedSupport, num_steps: int) -> jax.Array:
    """Return $f$: each query's embedding after ``num_steps`` reads of the support set."""
    g, weight = memory.embeddings, memory.member.sum(1)

    def read(z: jax.Array):
        def step(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
            h, c = carry
            r = jax.nn.softmax(_weighted(at_least_float32(g @ h), weight)).astype(g.dtype) @ g
            out, c = _lstm(cell, jnp.concatenate([z, h, r]), c)
            return (z + out, c), None

        return jax.lax.scan(step, (z, jnp.zeros_like(z)), length=num_steps)[0][0]

    return jax.vmap(read)(z.astype(g.dtype))


def _lstm_init(key: Key, num_inputs: int, width: int, dtype: Any) -> PyTree:
    """Return a cell whose forget gate starts open, with bias 1."""
    kernel = jax.nn.initializers.glorot_uniform()(key, (num_inputs * width, 4 * width), dtype)
    return {"kernel": kernel, "bias": jnp.repeat(jnp.array([0, 1, 0, 0], dtype), width)}


def _lstm(cell: PyTree, inputs: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Take one step; the inputs include the last output. Gates are in the order input, forget, candidate, output."""
    i, f, g, o = jnp.split(inputs @ cell["kernel"] + cell["bias"], 4)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c
