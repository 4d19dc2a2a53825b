"""PT-MAP: features made Gaussian by a power, and classes found by optimal transport between queries and means.

Hu, Gripon and Pateux, 2021, https://arxiv.org/abs/2006.03806
"""

import jax
import jax.numpy as jnp

from ..losses import LossFn, cross_entropy
from ..types import MetaLearner, Model
from ._metric import sqeuclidean_logits, unit
from ._transductive import Labelled, all_at_once


def pt_map(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    power: float = 0.5,
    strength: float = 10.0,
    step: float = 0.2,
    num_steps: int = 20,
    num_sinkhorn: int = 50,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""PT-MAP: power transform, then maximum a posteriori class means with queries shared out equally among classes.

    Features become $\mathrm{sign}(z) |z|^\beta$ at length 1, and those of a task are centred by their mean and scaled
    to length 1 again. From class means $c_w$, each of ``num_steps`` shares the $Q$ queries out by entropic optimal
    transport, $P = \arg\min_P \langle P, \|z_j - c_w\|^2 \rangle - H(P) / \lambda$ with row sums 1 and column sums
    $Q / W$ (Sinkhorn), and moves $c_w$ by ``step`` towards the mean of the support examples of the class and its
    share of queries. Outputs are $\log P$. Predictions are transductive, and `evaluate` says so: they assume classes
    of equal size. Training compares transformed features to class means. Left out: the reduction of dimensions by QR,
    which keeps all distances.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      power: $\beta$.
      strength: $\lambda$.
      step: how far means move, 0 to 1.
      num_steps: moves of the means.
      num_sinkhorn: iterations of Sinkhorn for each.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Raises:
      ValueError: if a number is out of range, or a support set has no ``ways`` when ``num_ways`` is None.

    Example:
      >>> import jaxmeta as jm
      >>> learner = pt_map(jm.identity(), num_ways=2)
      >>> support = jm.Batch(jnp.array([[4.0, 1.0], [1.0, 4.0]]), jnp.array([0, 1]))
      >>> meta = learner.init(jax.random.key(0), jm.Task(support, support))
      >>> outputs = learner.predict(meta, learner.adapt(meta, support), jnp.array([[4.0, 2.0], [4.0, 3.0]]))
      >>> outputs.argmax(1).tolist()  # two queries, two classes: one each
      [0, 1]
    """
    if min(num_steps, num_sinkhorn) < 0 or not 0 <= step <= 1 or not (power > 0 and strength > 0):
        raise ValueError(
            "`num_steps` and `num_sinkhorn` must be >= 0, `step` 0 to 1, `power` and `strength` > 0, got "
            f"{num_steps}, {num_sinkhorn}, {step}, {power}, {strength}."
        )

    def solve(support: Labelled, z: jax.Array, weight: jax.Array) -> jax.Array:
        known = support.member.sum(1)
        mean = (known @ support.z + weight @ z) / jnp.maximum(known.sum() + weight.sum(), 1)
        labelled, z = unit(support.z - mean[None]), unit(z - mean[None])
        here = jnp.ones(support.member.shape[1], bool) if support.ways is None else support.ways
        each = weight.sum() * here / jnp.maximum(here.sum(), 1)

        def shares(means: jax.Array) -> jax.Array:
            return _transport(strength * sqeuclidean_logits(z, means), weight, each, num_sinkhorn)

        def move(_: int, means: jax.Array) -> jax.Array:
            found = jnp.exp(shares(means))
            total = support.member.sum(0) + found.sum(0)
            target = (support.member.T @ labelled + found.T @ z) / jnp.where(total == 0, 1, total)[:, None]
            return means + step * (target - means)

        start = support._replace(z=labelled).means
        return jnp.maximum(shares(jax.lax.fori_loop(0, num_steps, move, start)), jnp.finfo(z.dtype).min)

    def powered(z: jax.Array) -> jax.Array:
        size = jnp.abs(z)
        return unit(jnp.sign(z) * jnp.where(size > 0, jnp.where(size > 0, size, 1) ** power, 0))

    return all_at_once(model, loss_fn, solve, powered, train_scale=strength, num_ways=num_ways)


def _transport(scores: jax.Array, rows: jax.Array, columns: jax.Array, num_steps: int) -> jax.Array:
    """Return $\\log P$ for the plan $P$ ``[Q, W]`` nearest to $e^{scores}$ with these sums; sums of 0 give no share."""
    log = lambda total: jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)), -jnp.inf)
    log_rows, log_columns = log(rows)[:, None], log(columns)[None]
    safe = lambda a: jnp.where(jnp.isfinite(a), a, 0)

    def alternate(_: int, plan: jax.Array) -> jax.Array:
        plan = plan + log_columns - safe(jax.nn.logsumexp(plan, 0, keepdims=True))
        return plan + log_rows - safe(jax.nn.logsumexp(plan, 1, keepdims=True))

    masked = jnp.where((columns > 0)[None] & (rows > 0)[:, None], scores, -jnp.inf)
    first = masked + log_rows - safe(jax.nn.logsumexp(masked, 1, keepdims=True))
    return jax.lax.fori_loop(0, num_steps, alternate, first)
