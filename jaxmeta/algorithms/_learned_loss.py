"""A learned loss (ML3): a network scores predictions against targets, and its gradient is what a task adapts by.

Bechtle, Molchanov, Chebotar, Grefenstette, Righetti, Sukhatme and Meier, 2021, https://arxiv.org/abs/1906.05374
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from .. import layers
from ..embedding import at_least_float32, output_shape
from ..inner import Gradient
from ..learner import Adapted, descent, episodic, fast_weights
from ..losses import LossFn
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables


def learned_loss(
    model: Model,
    loss_fn: LossFn,
    *,
    hidden: tuple[int, ...] = (40, 40),
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.1),
    num_steps: int = 1,
    adapt_only: Callable[[str], bool] | None = None,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""ML3: $\phi_{k+1} = \phi_k - \alpha \nabla_\phi M_\psi(f_\phi(x), y)$, with learned $\theta$ and $\psi$.

    The outer loss is $L_Q(\phi_K)$. $M_\psi$ is the softplus of an MLP of an example's outputs and targets, averaged
    over the support set. For labels it reads probabilities and a one-hot vector. The task's own loss is only used
    outside, so its derivative need not be useful within a task. ``meta.params`` is ``{"model": theta, "loss": psi}``.

    Args:
      model: the backbone.
      loss_fn: the outer loss, as for `maml`.
      hidden: widths of the hidden layers of $M$.
      inner_optimizer, num_steps, adapt_only, gradient, remat, truncate: as for `maml`.

    Example:
      >>> import jaxmeta as jm
      >>> learner = learned_loss(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse)
      >>> task = jm.tasks.sinusoid()(jax.random.key(0))
      >>> learner.init(jax.random.key(1), task).params["loss"]["dense0"]["kernel"].shape  # outputs and targets
      (2, 40)
    """

    def init(key: Key, task: Task) -> Variables:
        k_model, k_loss = jax.random.split(key)
        variables = model.init(k_model, task.support.x)
        shape = output_shape(model, variables, task.support.x)
        num_inputs = _read(jnp.zeros(shape.shape, shape.dtype), task.support.y).shape[-1]
        return Variables(
            {"model": variables.params, "loss": layers.mlp_init(k_loss, (num_inputs, *hidden, 1))}, variables.state
        )

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        def learned(outputs: jax.Array, targets: jax.Array) -> jax.Array:  # one value per example
            seen = _read(outputs, targets).astype(meta.params["loss"]["dense0"]["bias"].dtype)
            return jax.nn.softplus(layers.mlp(meta.params["loss"], seen))[..., 0]

        steps = descent(
            model,
            learned,
            num_steps=num_steps,
            adapt_only=adapt_only,
            gradient=gradient,
            remat=remat,
            truncate=truncate,
        )
        return steps(Variables(meta.params["model"], meta.state), inner_optimizer, support, key, train=train)

    return episodic(init, adapt, fast_weights(model), loss_fn, keeps_state=model.keeps_state)


def _read(outputs: jax.Array, targets: PyTree) -> jax.Array:
    """Return what the loss sees: outputs and targets, or probabilities and one-hot labels."""
    if jnp.issubdtype(targets.dtype, jnp.integer):
        outputs = jax.nn.softmax(at_least_float32(outputs))
        targets = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)
    return jnp.concatenate([outputs, targets], -1)
