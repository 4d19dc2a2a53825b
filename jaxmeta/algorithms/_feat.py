"""FEAT: the prototypes of a task attend to one another, so that the metric is of this task.

Ye, Hu, Zhan and Sha, 2020, https://arxiv.org/abs/1812.03664
"""

import jax
import jax.numpy as jnp

from .. import layers
from ..embedding import at_least_float32, embed, embed_support
from ..learner import batch_metrics, count_ways, episodic, mask_ways, split_key
from ..losses import LossFn, batch_loss, cross_entropy
from ..types import Aux, Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._metric import class_means, membership, sqeuclidean_logits
from ._protonet import Prototypes
from ._set_encoders import embedding_size


def feat(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    temperature: float = 1.0,
    balance: float = 0.0,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""FEAT: logits $-\|z - \hat c_w\|^2 / \tau$, for prototypes $c$ after attention.

    $\hat c = c + \mathrm{softmax}(c Q (c K)^\top / \sqrt D) \, c V O$: one head of attention over the classes that are
    present adapts `protonet`'s class means $c$ together.
    $O$ starts at zero, where this is `protonet`. With ``balance`` $\lambda$ the outer loss has $\lambda$ times a second
    term: all examples of the task, support and query, attend to those of their own class, and every example is
    classified by the means of the results. There is no dropout and no layer normalisation behind the attention.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      temperature: $\tau$.
      balance: $\lambda$, in training only; 0 leaves the second term out.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Raises:
      ValueError: if ``temperature`` is not positive, ``balance`` negative, or the number of ways unknown.

    Example:
      >>> import jaxmeta as jm
      >>> learner = feat(jm.from_linen(jm.backbones.Conv4()), temperature=64.0, balance=0.1)
    """
    if not temperature > 0:
        raise ValueError(f"`temperature` must be > 0, got {temperature}.")
    if balance < 0:
        raise ValueError(f"`balance` must be >= 0, got {balance}.")

    def init(key: Key, task: Task) -> Variables:
        k_model, *keys = jax.random.split(key, 4)
        variables = model.init(k_model, task.support.x)
        size = embedding_size(model, variables, task.support.x)
        attention = {name: layers.dense_init(k, size, size)["kernel"] for name, k in zip("qkv", keys, strict=True)}
        attention["o"] = jnp.zeros((size, size))
        return Variables({"model": variables.params, "attention": attention}, variables.state)

    def logits(adapted: Prototypes, z: jax.Array) -> jax.Array:
        return mask_ways(sqeuclidean_logits(z, adapted.means) / temperature, adapted.ways)

    def prototypes(meta: Variables, z: jax.Array, batch: Batch, state: PyTree) -> Prototypes:
        means = class_means(z, batch.y, count_ways(batch, num_ways), batch.weight)
        present = jnp.ones(len(means), bool) if batch.ways is None else batch.ways
        return Prototypes(attend(meta.params["attention"], means, present[None]), batch.ways, state)

    def features(meta: Variables, support: Batch, key: Key | None, train: bool) -> tuple[jax.Array, PyTree]:
        z, state = embed_support(model, Variables(meta.params["model"], meta.state), support, key, train=train)
        return at_least_float32(z), state

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Prototypes:
        z, state = features(meta, support, key, train)
        return prototypes(meta, z, support, state)

    def forward(
        meta: Variables,
        adapted: Prototypes,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        z, state = embed(model, Variables(meta.params["model"], adapted.state), x, key, train=train, weight=weight)
        return logits(adapted, at_least_float32(z)), state

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        (k_support, k_query), query = split_key(key), task.query
        z, state = features(meta, task.support, k_support, True)
        adapted, variables = prototypes(meta, z, task.support, state), Variables(meta.params["model"], state)
        z_query, state = embed(model, variables, query.x, k_query, train=True, weight=query.weight)
        z_query = at_least_float32(z_query)
        outputs = logits(adapted, z_query)
        value = batch_loss(loss_fn, outputs, query)
        metrics = {"loss": value, **batch_metrics(outputs, query)}
        if balance:
            every = joined(task, jnp.concatenate([z, z_query]))
            own = membership(every.y, len(adapted.means), every.weight, z.dtype)
            inside = attend(meta.params["attention"], every.x, own @ own.T > 0)
            means = class_means(inside, every.y, len(adapted.means), every.weight)
            metrics["loss/classes"] = batch_loss(loss_fn, logits(adapted._replace(means=means), every.x), every)
            value = value + balance * metrics["loss/classes"]
        return value, Aux(state if model.keeps_state else meta.state, metrics)

    return episodic(init, adapt, forward, loss_fn, loss=loss)


def attend(p: dict[str, jax.Array], z: jax.Array, visible: jax.Array) -> jax.Array:
    """Return vectors ``[N, D]`` after one head of attention, added to them; ``visible`` says who sees whom."""
    p = jax.tree.map(lambda a: a.astype(z.dtype), p)
    scores = (z @ p["q"]) @ (z @ p["k"]).T * z.shape[1] ** -0.5
    scores = jnp.where(jnp.broadcast_to(visible, scores.shape), scores, jnp.finfo(z.dtype).min)
    return z + jax.nn.softmax(scores) @ (z @ p["v"]) @ p["o"]


def joined(task: Task, z: jax.Array) -> Batch:
    """Return both sets of a task as one, with their features as inputs."""
    sets = (task.support, task.query)
    weight = jnp.concatenate([jnp.ones(len(b.y), z.dtype) if b.weight is None else b.weight for b in sets])
    return Batch(z, jnp.concatenate([b.y for b in sets]), weight, task.support.ways)
