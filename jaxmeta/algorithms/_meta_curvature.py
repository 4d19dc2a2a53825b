"""Meta-curvature: learn matrices that multiply inner gradients along every axis of a weight.

Park and Oliva, 2019, https://arxiv.org/abs/1902.03356
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from ..inner import Gradient
from ..learner import Adapted, descent, episodic, fast_weights
from ..losses import LossFn
from ..types import Batch, Key, MetaLearner, Model, Task, Variables


def meta_curvature(
    model: Model,
    loss_fn: LossFn,
    *,
    inner_lr: float = 0.01,
    num_steps: int = 1,
    adapt_only: Callable[[str], bool] | None = None,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""MC2: $\phi_{k+1} = \phi_k - \alpha \, G_k \times_1 M_f \times_2 M_i \times_3 M_o$ with learned matrices $M$.

    $G_k = \nabla L_S(\phi_k)$. A kernel of a convolution has three matrices: for its places $f$ (height and width as
    one axis), inputs $i$ and outputs $o$; a dense kernel has two, a vector one, a scalar none. They start as
    identities, where this is `maml` with SGD of rate $\alpha$. ``meta.params`` is ``{"model": theta, "curvature": M}``.
    An axis of length $n$ costs $n^2$ parameters.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      inner_lr: $\alpha$.
      num_steps, adapt_only, gradient, remat, truncate: as for `maml`.

    Example:
      >>> import jaxmeta as jm
      >>> learner = meta_curvature(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse)
      >>> task = jm.tasks.sinusoid()(jax.random.key(0))
      >>> meta = learner.init(jax.random.key(1), task)
      >>> [m.shape for m in meta.params["curvature"]["head"]["kernel"].values()]
      [(8, 8), (1, 1)]
    """
    steps = descent(
        model,
        loss_fn,
        num_steps=num_steps,
        adapt_only=adapt_only,
        gradient=gradient,
        remat=remat,
        truncate=truncate,
    )

    def init(key: Key, task: Task) -> Variables:
        variables = model.init(key, task.support.x)
        identities = lambda p: {f"axis{i}": jnp.eye(n, dtype=p.dtype) for i, n in enumerate(axes(p))}
        curvature = jax.tree.map(identities, variables.params)
        return Variables({"model": variables.params, "curvature": curvature}, variables.state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        def update(g: jax.Array | None, matrices: dict[str, jax.Array]) -> jax.Array | None:
            return None if g is None else -inner_lr * multiplied(g, matrices)  # None: a frozen parameter

        is_none = lambda leaf: leaf is None
        rule = optax.stateless(lambda grads, _: jax.tree.map(update, grads, meta.params["curvature"], is_leaf=is_none))
        return steps(Variables(meta.params["model"], meta.state), rule, support, key, train=train)

    return episodic(init, adapt, fast_weights(model), loss_fn, keeps_state=model.keeps_state)


def axes(p: jax.Array) -> tuple[int, ...]:
    """Return the lengths of a weight's axes, those of a convolution's places being one."""
    return p.shape if p.ndim < 3 else (math.prod(p.shape[:-2]), *p.shape[-2:])


def multiplied(g: jax.Array, matrices: dict[str, jax.Array]) -> jax.Array:
    """Multiply each axis of a gradient by its matrix.

    Example:
      >>> multiplied(jnp.ones((1, 2)), {"axis0": jnp.array([[3.0]]), "axis1": jnp.array([[1.0, 1.0], [0.0, 1.0]])})
      Array([[6., 3.]], dtype=float32)
    """
    product = g.reshape(axes(g))
    for i in range(product.ndim):
        product = jnp.moveaxis(jnp.tensordot(matrices[f"axis{i}"], product, (1, i)), 0, i)
    return product.reshape(g.shape)
