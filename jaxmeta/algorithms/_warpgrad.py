"""WarpGrad: learn layers that warp the gradients of the others, from every step of adaptation and through none.

Flennerhag, Rusu, Pascanu, Visin, Yin and Hadsell, 2020, https://arxiv.org/abs/1909.00025
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ..learner import Adapted, batch_metrics, descent, episodic, fast_weights, init_model, merge, partition, split_key
from ..losses import LossFn, batch_loss
from ..types import Aux, Batch, Key, MetaLearner, Model, PyTree, Task, Variables


def warpgrad(
    model: Model,
    loss_fn: LossFn,
    *,
    warp: str | Callable[[str], bool] = "warp",
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01),
    num_steps: int = 5,
    warp_weight: float = 1.0,
) -> MetaLearner:
    r"""WarpGrad with a learned start: $\theta_{k+1} = \theta_k - \alpha \nabla_\theta L_S(\theta_k; \phi)$.

    Warp layers $\phi$ stay in a task; those in front of them feel a gradient that they have transformed. The outer
    gradient is that of

    $$L_Q(\bar\theta_K + \theta_0 - \bar\theta_0; \bar\phi)
    + \frac{\eta}{K} \sum_{k<K} L_Q(\bar\theta_k - \alpha \nabla_\theta L_S(\bar\theta_k; \phi); \phi),$$

    where a bar stops derivatives: first order (FOMAML) for the start $\theta_0$, and exact through one step at a time
    for $\phi$, whatever the number of steps, so that memory does not grow with it. The reported loss is $L_Q$ after
    all steps.

    Args:
      model: a network with warp layers between those that adapt; linear ones change the metric alone.
      loss_fn: as for `maml`.
      warp: how the path of every parameter of the warp layers begins, or a predicate on paths.
      inner_optimizer: of the steps; one that keeps state, such as momentum, begins anew at every $\theta_k$ of the sum.
      num_steps: $K$.
      warp_weight: $\eta$.

    Raises:
      ValueError: if ``num_steps`` is below 1, or no parameter is a warp layer's, or all are.

    Example:
      >>> import jaxmeta as jm
      >>> from flax import linen
      >>> net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(8), linen.Dense(1)])
      >>> learner = warpgrad(jm.from_linen(net), jm.losses.mse, warp="layers_2")
    """
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be >= 1, got {num_steps}: warp layers learn from steps.")
    warps = warp if callable(warp) else lambda path: path.startswith(warp)
    adapts = lambda path: not warps(path)
    step = descent(model, loss_fn, num_steps=1, adapt_only=adapts)
    steps = descent(model, loss_fn, num_steps=num_steps, adapt_only=adapts, gradient="first_order")
    forward = fast_weights(model)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        return steps(meta, inner_optimizer, support, key, train=train)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_steps, k_query = split_key(key)
        fast, warped = partition(meta.params, adapts)
        if not jax.tree.leaves(warped):
            raise ValueError(f"`warp` is {warp!r}, which no parameter's path begins with: nothing is a warp layer.")
        stopped = jax.lax.stop_gradient

        def query(adapted: Adapted) -> tuple[jax.Array, jax.Array, PyTree]:
            outputs, state = forward(meta, adapted, task.query.x, k_query, train=True, weight=task.query.weight)
            return batch_loss(loss_fn, outputs, task.query), outputs, state

        def one(at: PyTree, k: jax.Array) -> tuple[PyTree, jax.Array]:
            start = Variables(merge(at, warped), meta.state)
            k_step = None if k_steps is None else jax.random.fold_in(k_steps, k)
            adapted = step(start, inner_optimizer, task.support, k_step, train=True)
            return stopped(partition(adapted.params, adapts)[0]), query(adapted)[0]

        _, losses = jax.lax.scan(one, stopped(fast), jnp.arange(num_steps))
        end = adapt(Variables(merge(fast, stopped(warped)), meta.state), task.support, k_steps, train=True)
        value, outputs, state = query(end)
        total = value + warp_weight * losses.mean()
        reported = {"loss": value, **batch_metrics(outputs, task.query)}
        return total, Aux(state if model.keeps_state else meta.state, reported)

    return episodic(init_model(model), adapt, forward, loss_fn, keeps_state=model.keeps_state, loss=loss)
