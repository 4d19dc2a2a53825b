"""Reptile: move the initialisation towards where a few steps of ordinary training on a task lead.

Nichol, Achiam and Schulman, 2018, https://arxiv.org/abs/1803.02999
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ..learner import Adapted, batch_metrics, descent, episodic, fast_weights, init_model, split_key
from ..losses import LossFn, batch_loss
from ..types import Aux, Batch, Key, MetaLearner, Model, Task, Variables


def reptile(
    model: Model,
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01),
    num_steps: int = 5,
    batch_size: int | None = None,
    adapt_only: Callable[[str], bool] | None = None,
) -> MetaLearner:
    r"""Reptile: $\theta \leftarrow \theta - \epsilon (\theta - \phi_K)$, with $\phi_K$ after $K$ inner steps.

    The loss is $\frac{1}{2} \|\theta - \mathrm{sg}(\phi_K)\|^2$, whose gradient is $\theta - \phi_K$; with
    ``optax.sgd(epsilon)`` outside this is the paper's update. It is a distance, not a query loss: read the
    query loss in `Aux.metrics`.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      inner_optimizer: any optax optimizer, fresh for every task; the paper takes Adam with ``b1=0``. No
        derivative passes through it.
      num_steps: inner steps $K$.
      batch_size: support examples per step, in shuffled passes; all of them by default.
      adapt_only: as for `maml`.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=1))
      >>> learner = reptile(model, jm.losses.mse, inner_optimizer=optax.adam(1e-3, b1=0.0), batch_size=5)
    """
    steps = descent(
        model,
        loss_fn,
        num_steps=num_steps,
        batch_size=batch_size,
        adapt_only=adapt_only,
        gradient="first_order",
    )
    forward = fast_weights(model)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        return steps(meta, inner_optimizer, support, key, train=train)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_adapt, k_query = split_key(key)
        adapted = jax.lax.stop_gradient(adapt(meta, task.support, k_adapt, train=True))
        distance = jax.tree.map(lambda p, q: 0.5 * jnp.sum((p - q) ** 2), meta.params, adapted.params)
        outputs, state = forward(meta, adapted, task.query.x, k_query, train=True, weight=task.query.weight)
        metrics = {"loss": batch_loss(loss_fn, outputs, task.query), **batch_metrics(outputs, task.query)}
        return jax.tree.reduce(jnp.add, distance), Aux(state if model.keeps_state else meta.state, metrics)

    return episodic(init_model(model), adapt, forward, loss_fn, loss=loss)
