"""Bootstrapped meta-gradients: learn to reach in few steps where more steps would have led.

Flennerhag, Schroecker, Zahavy, van Hasselt, Silver and Singh, 2022, https://arxiv.org/abs/2109.04504
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from ..inner import Gradient
from ..learner import Adapted, batch_metrics, descent, episodic, fast_weights, init_model, split_key
from ..losses import LossFn, batch_loss, kl_divergence, weighted_mean
from ..types import Aux, Batch, Key, MetaLearner, Model, Task, Variables


def bootstrapped(
    model: Model,
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01),
    num_steps: int = 5,
    num_target_steps: int = 5,
    distance: Literal["parameters", "kl"] = "parameters",
    adapt_only: Callable[[str], bool] | None = None,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""BMG: minimise $\mu(\tilde\phi, \phi_K(\theta))$, where $\tilde\phi$ is a constant target $L$ steps further on.

    $\phi_K$ is `maml`'s result on the support set. The target starts there and takes $L$ steps with the same rule on
    the query set. $\mu$ is $\frac12 \|\tilde\phi - \phi_K\|^2$, or
    $\mathrm{KL}(p_{\tilde\phi}(y \mid x) \,\|\, p_{\phi_K}(y \mid x))$ on the query set. For $L = 1$, SGD of rate
    $\alpha$ and the distance of parameters the meta-gradient is $\alpha$ times that of `maml`; larger $L$
    look further ahead at no cost in memory, because nothing is differentiated through the target.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      num_steps: $K$.
      num_target_steps: $L$.
      distance: ``"parameters"``, or ``"kl"`` for classifiers, whose outputs are logits.
      inner_optimizer, adapt_only, gradient, remat, truncate: as for `maml`.

    Returns:
      A `MetaLearner`, with `maml`'s `adapt`. The metric ``"loss"`` is the query loss; ``"target/distance"`` is $\mu$.

    Raises:
      ValueError: if ``num_target_steps`` is below 1, or for an unknown ``distance``.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.MLP((8,), num_outputs=1))
      >>> learner = bootstrapped(model, jm.losses.mse, num_target_steps=9)
    """
    if num_target_steps < 1:
        raise ValueError(f"`num_target_steps` must be >= 1, got {num_target_steps}: the target would be the start.")
    if distance not in ("parameters", "kl"):
        raise ValueError(f"`distance` must be 'parameters' or 'kl', got {distance!r}.")
    steps = descent(
        model,
        loss_fn,
        num_steps=num_steps,
        adapt_only=adapt_only,
        gradient=gradient,
        remat=remat,
        truncate=truncate,
    )
    further = descent(model, loss_fn, num_steps=num_target_steps, adapt_only=adapt_only, gradient="first_order")
    forward = fast_weights(model)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        return steps(meta, inner_optimizer, support, key, train=train)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_adapt, k_target, k_query = split_key(key, 3)
        adapted = adapt(meta, task.support, k_adapt, train=True)
        start = jax.lax.stop_gradient(Variables(adapted.params, meta.state))
        target = jax.lax.stop_gradient(further(start, inner_optimizer, task.query, k_target, train=True))
        x, weight = task.query.x, task.query.weight
        outputs, state = forward(meta, adapted, x, k_query, train=True, weight=weight)
        if distance == "parameters":
            squares = jax.tree.map(lambda p, q: 0.5 * jnp.sum((p - q) ** 2), adapted.params, target.params)
            value = jax.tree.reduce(jnp.add, squares)
        else:
            goal = forward(meta, adapted._replace(params=target.params), x, k_query, train=True, weight=weight)[0]
            value = weighted_mean(kl_divergence(jax.lax.stop_gradient(goal), outputs), weight)
        metrics = {"loss": batch_loss(loss_fn, outputs, task.query), **batch_metrics(outputs, task.query)}
        return value, Aux(state if model.keeps_state else meta.state, {**metrics, "target/distance": value})

    return episodic(init_model(model), adapt, forward, loss_fn, loss=loss)
