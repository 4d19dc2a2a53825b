"""ALPaCA: Bayesian linear regression on learned features, from a learned prior, in closed form.

Harrison, Sharma and Pavone, 2018, https://arxiv.org/abs/1807.08912
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..embedding import at_least_float32, embed, embed_support
from ..learner import episodic
from ..losses import Gaussian, LossFn, gaussian_nll
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._set_encoders import embedding_size


class Posterior(NamedTuple):
    """Mean ``[D, Y]`` and the Cholesky factor of the precision ``[D, D]`` of the last layer; the model's state."""

    mean: jax.Array
    factor: jax.Array
    state: PyTree = ()


def alpaca(model: Model, loss_fn: LossFn = gaussian_nll, *, init_std: float = 0.1) -> MetaLearner:
    r"""ALPaCA: $y = K^\top \varphi_\theta(x) + \epsilon$, with $K \sim \mathcal{MN}(\bar K_0, \Lambda_0^{-1}, \Sigma)$.

    $\epsilon \sim \mathcal N(0, \Sigma)$ with $\Sigma = \mathrm{diag}(\sigma^2)$. The support set gives
    $\Lambda = \Lambda_0 + \Phi^\top \Phi$ and $\bar K = \Lambda^{-1} (\Lambda_0 \bar K_0 + \Phi^\top Y)$; predictions
    are $\mathcal N(\bar K^\top \varphi, (1 + \varphi^\top \Lambda^{-1} \varphi) \Sigma)$. $\theta$, the prior mean, its
    precision $\Lambda_0 = L L^\top$, and $\sigma$ are learned by the queries' likelihood. An example of weight $w$
    counts $w$ times. Put a constant among the features for a bias.

    Args:
      model: the features ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: on a `losses.Gaussian` of arrays ``[N, Y]`` and targets ``[N, Y]``.
      init_std: $\sigma$ at the start, in units of the targets.

    Returns:
      A `MetaLearner`, whose outputs are a `losses.Gaussian`; `adapt` returns a `Posterior`.

    Raises:
      ValueError: if ``init_std`` is not positive, or targets are not numbers ``[N, Y]``.

    Example:
      >>> import jaxmeta as jm
      >>> learner = alpaca(jm.identity(), init_std=1.0)
      >>> support = Batch(jnp.array([[1.0]]), jnp.array([[3.0]]))
      >>> meta = learner.init(jax.random.key(0), Task(support, support))
      >>> mean, std = learner.predict(meta, learner.adapt(meta, support), support.x)
      >>> f"{mean[0, 0]:.4f}, {std[0, 0]:.4f}"  # 3 / 2, and the root of 1 + 1 / 2
      '1.5000, 1.2247'
    """
    if not init_std > 0:
        raise ValueError(f"`init_std` must be > 0, got {init_std}: its logarithm is what is learned.")

    def init(key: Key, task: Task) -> Variables:
        variables, num_targets = model.init(key, task.support.x), _targets(task.support).shape[1]
        size = embedding_size(model, variables, task.support.x)
        params = {
            "model": variables.params,
            "mean": jnp.zeros((size, num_targets)),
            "factor": jnp.eye(size),
            "log_std": jnp.full(num_targets, math.log(init_std)),
        }
        return Variables(params, variables.state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Posterior:
        z, state = embed_support(model, Variables(meta.params["model"], meta.state), support, key, train=train)
        z = at_least_float32(z)
        y, mean, factor = (a.astype(z.dtype) for a in (_targets(support), meta.params["mean"], meta.params["factor"]))
        weighted = z if support.weight is None else z * support.weight[:, None].astype(z.dtype)
        with jax.default_matmul_precision("highest"):
            prior = factor @ factor.T
            cholesky = jnp.linalg.cholesky(prior + weighted.T @ z)
            mean = jax.scipy.linalg.cho_solve((cholesky, True), prior @ mean + weighted.T @ y)
        return Posterior(mean, cholesky, state)

    def forward(
        meta: Variables,
        adapted: Posterior,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        variables = Variables(meta.params["model"], adapted.state)
        z, state = embed(model, variables, x, key, train=train, weight=weight)
        z = at_least_float32(z)
        with jax.default_matmul_precision("highest"):
            half = jax.scipy.linalg.solve_triangular(adapted.factor, z.T, lower=True)
            spread = jnp.sqrt(1 + (half**2).sum(0))[:, None]
            return Gaussian(z @ adapted.mean, spread * jnp.exp(meta.params["log_std"].astype(z.dtype))[None]), state

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state)


def _targets(support: Batch) -> jax.Array:
    if jnp.issubdtype(support.y.dtype, jnp.integer) or support.y.ndim != 2:
        raise ValueError(f"Targets of `alpaca` must be numbers [N, Y], got {support.y.dtype} {support.y.shape}.")
    return support.y
