"""ALFA: a small network sets the rate and the decay of every inner step from the gradients and weights of the moment.

Baik, Choi, Choi, Kim and Lee, 2020, https://arxiv.org/abs/2011.00209
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from .. import layers
from ..inner import Gradient
from ..learner import Adapted, descent, episodic, fast_weights
from ..losses import LossFn
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables


def alfa(
    model: Model,
    loss_fn: LossFn,
    *,
    init_lr: float = 0.01,
    num_steps: int = 5,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""ALFA: $\phi_{k+1} = \beta_k \circ \phi_k - \alpha_k \circ \nabla L_S(\phi_k)$, with rates per array.

    With $A$ arrays of weights, $(\alpha_k, \beta_k) = (\alpha^0_k, \beta^0_k) \circ (1 + g_\psi(\tau_k))$. $\tau_k$ has
    the mean of each array's gradient and of its weights. $g_\psi$ is an MLP with one hidden layer of $2A$ units and a
    last layer that starts at zero. $\theta$, $\psi$, $\alpha^0$ and $\beta^0$ ``[K, A]`` are learned: at the start this
    is `maml` with rate ``init_lr``.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      init_lr: $\alpha^0$ at the start; $\beta^0$ is 1.
      num_steps: $K$; the same in every learner on one `meta`.
      gradient, remat, truncate: as for `maml`.

    Example:
      >>> import jaxmeta as jm
      >>> learner = alfa(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse, num_steps=3)
      >>> task = jm.tasks.sinusoid()(jax.random.key(0))
      >>> learner.init(jax.random.key(1), task).params["rates"].shape  # two kernels, two biases
      (3, 4)
    """
    steps = descent(model, loss_fn, num_steps=num_steps, gradient=gradient, remat=remat, truncate=truncate)

    def init(key: Key, task: Task) -> Variables:
        k_model, k_rule = jax.random.split(key)
        variables = model.init(k_model, task.support.x)
        num_arrays = len(jax.tree.leaves(variables.params))
        rule = layers.mlp_init(k_rule, (2 * num_arrays,) * 3)
        rule["dense1"] = jax.tree.map(jnp.zeros_like, rule["dense1"])
        rates, decays = jnp.full((num_steps, num_arrays), init_lr), jnp.ones((num_steps, num_arrays))
        params = {"model": variables.params, "rule": rule, "rates": rates, "decays": decays}
        return Variables(params, variables.state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        p = meta.params

        def update(grads: PyTree, step: jax.Array, params: PyTree = None) -> tuple[PyTree, jax.Array]:
            weights, treedef = jax.tree.flatten(params)
            slopes = jax.tree.leaves(grads)
            seen = jnp.stack([a.mean() for a in slopes + weights]).astype(p["rates"].dtype)
            rate, decay = jnp.split(1 + layers.mlp(p["rule"], seen), 2)
            rate, decay = rate * p["rates"][step], decay * p["decays"][step]
            moves = [(decay[i] - 1) * w - rate[i] * g for i, (w, g) in enumerate(zip(weights, slopes, strict=True))]
            return treedef.unflatten(moves), step + 1

        rule = optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)  # pyright: ignore
        return steps(Variables(p["model"], meta.state), rule, support, key, train=train)

    return episodic(init, adapt, fast_weights(model), loss_fn, keeps_state=model.keeps_state)
