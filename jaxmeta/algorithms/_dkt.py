"""Deep kernel transfer: a Gaussian process on learned features, trained by its marginal likelihood.

Patacchiola, Turner, Crowley, O'Boyle and Storkey, 2020, https://arxiv.org/abs/1910.05199
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from ..embedding import at_least_float32, embed, embed_support
from ..learner import batch_metrics, count_ways, episodic, mask_ways, split_key
from ..losses import Gaussian, weighted_mean
from ..types import Aux, Batch, Key, MetaLearner, Model, PyTree, Task, Variables


class Process(NamedTuple):
    """A Gaussian process given a support set.

    Attributes:
      z: features ``[N, D]``.
      factor: Cholesky factor of the covariance with noise ``[N, N]``; rows of weight 0 are those of the identity.
      coefficients: $(K + \\Sigma)^{-1} (y - m)$, ``[N, Y]``.
      present: whether an example counts, ``[N]``.
      ways: the classes that are present, bool ``[W]``.
      state: the model's state.
    """

    z: jax.Array
    factor: jax.Array
    coefficients: jax.Array
    present: jax.Array
    ways: jax.Array | None
    state: PyTree = ()


def dkt(
    model: Model,
    *,
    kernel: Literal["rbf", "linear"] = "rbf",
    init_scale: float = 1.0,
    init_length: float = 1.0,
    init_noise: float = 0.1,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""DKT: $y \sim \mathcal{GP}(m, s^2 k(f_\theta(x), f_\theta(x')) + \sigma^2 \delta)$, one process for each target.

    $k$ is $\exp(-\|z - z'\|^2 / 2 \ell^2)$ or $z^\top z' / \ell^2$. The outer loss is minus the log marginal
    likelihood of support and query set together, per example and target; it trains $\theta$, $s$, $\ell$, $\sigma$ and
    $m$. Adaptation is exact: the posterior's mean and variance. Labels are regressed as $\pm 1$, a process for each
    class, and the outputs are the posterior means. An example of weight $w$ has noise variance $\sigma^2 / w$. The cost
    is $O(N^3)$.

    Args:
      model: the features ``[N, ...] -> [N, D]``; further axes are flattened.
      kernel: ``"rbf"`` or ``"linear"``.
      init_scale, init_length, init_noise: $s$, $\ell$ and $\sigma$ at the start.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Returns:
      A `MetaLearner`. The outputs for numbers ``[N, Y]`` are a `losses.Gaussian` of new observations, and for labels
      logits ``[N, W]``.

    Raises:
      ValueError: for an unknown ``kernel``, a start that is not positive, or targets of another shape.

    Example:
      >>> import jaxmeta as jm
      >>> learner = dkt(jm.identity(), init_noise=1.0)
      >>> support = Batch(jnp.array([[0.0]]), jnp.array([[3.0]]))
      >>> meta = learner.init(jax.random.key(0), Task(support, support))
      >>> mean, std = learner.predict(meta, learner.adapt(meta, support), support.x)
      >>> f"{mean[0, 0]:.4f}, {std[0, 0]:.4f}"  # half of 3, for the noise is 1; the root of 1 - 1 / 2 + 1
      '1.5000, 1.2247'
    """
    if kernel not in ("rbf", "linear"):
        raise ValueError(f"`kernel` must be 'rbf' or 'linear', got {kernel!r}.")
    starts = {"scale": init_scale, "length": init_length, "noise": init_noise}
    for name, value in starts.items():
        if not value > 0:
            raise ValueError(f"`init_{name}` must be > 0, got {value}: its logarithm is what is learned.")

    def init(key: Key, task: Task) -> Variables:
        variables, dtype = model.init(key, task.support.x), jnp.result_type(float)
        process = {f"log_{name}": jnp.array(math.log(value), dtype) for name, value in starts.items()}
        mean = jnp.zeros((), dtype)
        return Variables({"model": variables.params, "process": {**process, "mean": mean}}, variables.state)

    def covariance(p: PyTree, a: jax.Array, b: jax.Array) -> jax.Array:
        a, b = a * jnp.exp(-p["log_length"]), b * jnp.exp(-p["log_length"])
        if kernel == "linear":
            return jnp.exp(2 * p["log_scale"]) * (a @ b.T)
        square = ((a[:, None] - b[None]) ** 2).sum(-1)
        return jnp.exp(2 * p["log_scale"] - 0.5 * square)

    def condition(meta: Variables, z: jax.Array, batch: Batch, state: PyTree) -> tuple[Process, jax.Array]:
        """Return the process given a batch, and its log marginal likelihood, per example and target."""
        p, (y, ways) = process(meta, z.dtype), _targets(batch, num_ways)
        weight = jnp.ones(len(z), z.dtype) if batch.weight is None else batch.weight.astype(z.dtype)
        present = weight > 0
        noise = jnp.exp(2 * p["log_noise"]) / jnp.where(present, weight, 1)
        k = jnp.where(present[:, None] & present[None], covariance(p, z, z), 0)
        factor = jnp.linalg.cholesky(k + jnp.diag(jnp.where(present, noise, 1)))
        rest = jnp.where(present[:, None], y.astype(z.dtype) - p["mean"], 0)
        coefficients = jax.scipy.linalg.cho_solve((factor, True), rest)
        log_det, count = 2 * jnp.log(jnp.diagonal(factor)).sum(), present.sum(dtype=z.dtype)
        likelihood = -0.5 * ((rest * coefficients).sum(0) + log_det + count * math.log(2 * math.pi))
        likelihood = weighted_mean(likelihood, ways) / jnp.maximum(count, 1)
        return Process(z, factor, coefficients, present, ways, state), likelihood

    def process(meta: Variables, dtype: Any) -> PyTree:
        return jax.tree.map(lambda a: a.astype(dtype), meta.params["process"])

    def features(meta: Variables, support: Batch, key: Key | None, train: bool) -> tuple[jax.Array, PyTree]:
        z, state = embed_support(model, Variables(meta.params["model"], meta.state), support, key, train=train)
        return at_least_float32(z), state

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Process:
        with jax.default_matmul_precision("highest"):
            z, state = features(meta, support, key, train)
            return condition(meta, z, support, state)[0]

    def posterior(meta: Variables, adapted: Process, z: jax.Array) -> jax.Array | Gaussian:
        p = process(meta, z.dtype)
        cross = jnp.where(adapted.present[:, None], covariance(p, adapted.z, z), 0)
        mean = p["mean"] + cross.T @ adapted.coefficients
        if adapted.ways is not None:
            return mask_ways(mean, adapted.ways)
        half = jax.scipy.linalg.solve_triangular(adapted.factor, cross, lower=True)
        prior = jax.vmap(lambda row: covariance(p, row[None], row[None])[0, 0])(z)
        noise = jnp.exp(2 * p["log_noise"])
        std = jnp.sqrt(jnp.maximum(prior - (half**2).sum(0), 0) + noise)  # rounding may take the difference below 0
        return Gaussian(mean, jnp.broadcast_to(std[:, None], mean.shape))

    def forward(
        meta: Variables,
        adapted: Process,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        with jax.default_matmul_precision("highest"):
            variables = Variables(meta.params["model"], adapted.state)
            z, state = embed(model, variables, x, key, train=train, weight=weight)
            return posterior(meta, adapted, at_least_float32(z)), state

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_support, k_query = split_key(key)
        with jax.default_matmul_precision("highest"):
            z, state = features(meta, task.support, k_support, True)
            adapted, _ = condition(meta, z, task.support, state)
            variables = Variables(meta.params["model"], state)
            query = task.query
            z_query, state = embed(model, variables, query.x, k_query, train=True, weight=query.weight)
            z_query = at_least_float32(z_query)
            value = -condition(meta, jnp.concatenate([z, z_query]), _joined(task), ())[1]
            outputs = posterior(meta, adapted, jax.lax.stop_gradient(z_query))
        metrics = {"loss": value, **batch_metrics(outputs, query)}
        return value, Aux(state if model.keeps_state else meta.state, metrics)

    return episodic(init, adapt, forward, lambda outputs, y, weight=None: jnp.zeros(()), loss=loss)


def _joined(task: Task) -> Batch:
    """Return the targets and weights of both sets as one batch without inputs."""
    sets = (task.support, task.query)
    weight = jnp.concatenate([jnp.ones(len(b.y)) if b.weight is None else b.weight for b in sets])
    return Batch(None, jnp.concatenate([b.y for b in sets]), weight, task.support.ways)


def _targets(batch: Batch, num_ways: int | None) -> tuple[jax.Array, jax.Array | None]:
    """Return numbers ``[N, Y]``, and the classes if they are of labels."""
    labels = jnp.issubdtype(batch.y.dtype, jnp.integer)
    if batch.y.ndim != (1 if labels else 2):
        raise ValueError(
            f"Targets of `dkt` must be labels [N] or numbers [N, Y], got {batch.y.dtype} {batch.y.shape}. Reshape them."
        )
    if not labels:
        return batch.y, None
    width = count_ways(batch, num_ways)
    ways = jnp.ones(width, bool) if batch.ways is None else batch.ways
    return 2.0 * jax.nn.one_hot(batch.y, width) - 1, ways
