"""LEO: adapt a low-dimensional code from which the weights of a classifier are decoded.

Rusu, Rao, Sygnowski, Vinyals, Pascanu, Osindero and Hadsell, 2019, https://arxiv.org/abs/1807.05960
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from .. import layers
from ..embedding import at_least_float32, embed, embed_support
from ..inner import descend
from ..learner import batch_metrics, count_ways, episodic, mask_ways, split_key
from ..losses import LossFn, batch_loss, cross_entropy
from ..types import Aux, Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._metric import class_means
from ._set_encoders import embedding_size


class Decoded(NamedTuple):
    """A classifier ``[W, D]``, the two penalties of its code, the classes present, and the model's state."""

    weights: jax.Array
    divergence: jax.Array
    distance: jax.Array
    ways: jax.Array | None
    state: PyTree = ()


def leo(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    latent: int = 64,
    num_steps: int = 5,
    num_fine_tuning: int = 5,
    init_lr: float = 1.0,
    init_fine_tuning_lr: float = 1e-3,
    kl_weight: float = 1e-3,
    encoder_weight: float = 1e-9,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""LEO: $z_w \sim \mathcal N(\mu_w, \sigma_w^2)$, $W_w \sim \mathcal N(g(z_w))$, steps on $z$, then steps on $W$.

    With linear codes $h_i = E f_\theta(x_i)$ of the support set, $(\mu_w, \log \sigma_w)$ is the mean of a relation
    network over all pairs $(h_i, h_j)$ with $i$ in class $w$, and a linear decoder $g$ gives means and log standard
    deviations of the class's weights. Adaptation is ``num_steps`` steps $z \leftarrow z - \alpha \nabla_z L_S$, then
    ``num_fine_tuning`` on the weights themselves, with learned rates. The loss is that of the queries,
    $+ \beta \, \mathrm{KL}(\mathcal N(\mu, \sigma^2) \| \mathcal N(0, 1)) + \gamma \|\mathrm{sg}(z') - z\|^2$, with
    $z'$ the adapted code. In evaluation nothing is sampled: codes and weights are means. The authors adapt on features
    that were trained before; dropout, weight decay and the penalty on correlated decoder weights are left to the outer
    optimizer or left out.

    Args:
      model: the features ``[N, ...] -> [N, D]``; `jaxmeta.identity` for features that are there already.
      loss_fn: as for `maml`.
      latent: the dimension of a class's code.
      num_steps, num_fine_tuning: steps on the code and on the weights.
      init_lr, init_fine_tuning_lr: their rates at the start.
      kl_weight, encoder_weight: $\beta$ and $\gamma$.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Raises:
      ValueError: if ``latent`` is below 1, a number of steps is negative or a rate not positive.

    Example:
      >>> import jaxmeta as jm
      >>> learner = leo(jm.identity(), latent=4, num_ways=2)
      >>> support = Batch(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1]))
      >>> learner.adapt(learner.init(jax.random.key(0), Task(support, support)), support).weights.shape
      (2, 2)
    """
    if latent < 1 or min(num_steps, num_fine_tuning) < 0 or not min(init_lr, init_fine_tuning_lr) > 0:
        raise ValueError(
            "`latent` must be >= 1, numbers of steps >= 0 and rates > 0, got "
            f"{latent}, {num_steps}, {num_fine_tuning}, {init_lr}, {init_fine_tuning_lr}."
        )

    def init(key: Key, task: Task) -> Variables:
        k_model, k_encoder, k_relation, k_decoder = jax.random.split(key, 4)
        variables = model.init(k_model, task.support.x)
        size = embedding_size(model, variables, task.support.x)
        params = {
            "model": variables.params,
            "encoder": layers.dense_init(k_encoder, size, latent),
            "relation": layers.mlp_init(k_relation, (2 * latent, 2 * latent, 2 * latent, 2 * latent)),
            "decoder": layers.dense_init(k_decoder, latent, 2 * size),
            "log_lr": jnp.log(jnp.array([init_lr, init_fine_tuning_lr], jnp.float32)),
        }
        return Variables(params, variables.state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Decoded:
        p, width = meta.params, count_ways(support, num_ways)
        k_model, k_code, k_weights = split_key(key if train else None, 3)
        x, state = embed_support(model, Variables(p["model"], meta.state), support, k_model, train=train)
        x = at_least_float32(x)
        p = {name: jax.tree.map(lambda a: a.astype(x.dtype), p[name]) for name in p if name != "model"}
        codes = layers.dense(p["encoder"], x)
        pairs = _relations(p["relation"], codes, support.weight)
        mean, log_std = jnp.split(class_means(pairs, support.y, width, support.weight), 2, -1)
        code = _sample(k_code, mean, log_std)

        def decode(code: jax.Array) -> jax.Array:
            return _sample(k_weights, *jnp.split(layers.dense(p["decoder"], code), 2, -1))

        def loss_of(weights: jax.Array) -> jax.Array:
            return batch_loss(loss_fn, mask_ways(x @ weights.T, support.ways), support)

        first, second = (optax.sgd(rate) for rate in jnp.exp(p["log_lr"]))
        by_code = lambda code, none, _: (loss_of(decode(code)), none)
        by_weights = lambda weights, none, _: (loss_of(weights), none)
        end = descend(by_code, code, first, num_steps).params
        weights = descend(by_weights, decode(end), second, num_fine_tuning).params
        here = jnp.ones(width, x.dtype) if support.ways is None else support.ways.astype(x.dtype)
        here = here / jnp.maximum(here.sum(), 1)
        kl = 0.5 * (jnp.exp(2 * log_std) + mean**2 - 1 - 2 * log_std).sum(-1)
        distance = ((jax.lax.stop_gradient(end) - code) ** 2).sum(-1)
        return Decoded(weights, here @ kl, here @ distance, support.ways, state)

    def forward(
        meta: Variables,
        adapted: Decoded,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ) -> tuple[jax.Array, PyTree]:
        variables = Variables(meta.params["model"], adapted.state)
        z, state = embed(model, variables, x, key, train=train, weight=weight)
        return mask_ways(at_least_float32(z) @ adapted.weights.T, adapted.ways), state

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_adapt, k_query = split_key(key)
        adapted = adapt(meta, task.support, k_adapt, train=True)
        outputs, state = forward(meta, adapted, task.query.x, k_query, train=True, weight=task.query.weight)
        value = batch_loss(loss_fn, outputs, task.query)
        reported = {"loss": value, "kl": adapted.divergence, **batch_metrics(outputs, task.query)}
        total = value + kl_weight * adapted.divergence + encoder_weight * adapted.distance
        return total, Aux(state if model.keeps_state else meta.state, reported)

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state, loss=loss)


def _relations(params: PyTree, codes: jax.Array, weight: jax.Array | None) -> jax.Array:
    """Return for each example the mean of the relation network over its pairs with all that count, ``[N, 2 L]``."""
    n = len(codes)
    both = jnp.concatenate([jnp.repeat(codes, n, 0), jnp.tile(codes, (n, 1))], -1)
    each = layers.mlp(params, both).reshape(n, n, -1)
    share = jnp.ones(n, codes.dtype) if weight is None else weight.astype(codes.dtype)
    return jnp.einsum("j,ijr->ir", share / jnp.where(share.sum() == 0, 1, share.sum()), each)


def _sample(key: Key | None, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """Return a sample of the normal distribution, or without a key its mean."""
    return mean if key is None else mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)
