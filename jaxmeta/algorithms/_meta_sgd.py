"""Meta-SGD: learn a step size for every parameter together with the initialisation.

Li, Zhou, Chen and Li, 2017, https://arxiv.org/abs/1707.09835
"""

from collections.abc import Callable
from typing import Literal

import jax
import optax

from ..inner import Gradient
from ..learner import Adapted, descent, episodic, fast_weights
from ..losses import LossFn
from ..types import Batch, Key, MetaLearner, Model, Task, Variables


def meta_sgd(
    model: Model,
    loss_fn: LossFn,
    *,
    init_lr: float | tuple[float, float] = (0.005, 0.1),
    num_steps: int = 1,
    batch_size: int | None = None,
    adapt_only: Callable[[str], bool] | None = None,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""Meta-SGD: $\phi_{k+1} = \phi_k - \alpha \circ \nabla L_S(\phi_k)$ with learned $\phi_0 = \theta$ and $\alpha$.

    ``meta.params`` is ``{"model": theta, "lr": alpha}``, two trees of one shape; the rates may become negative.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      init_lr: one initial rate for all, or the ends of the interval from which they are drawn (the paper's default).
      num_steps: inner steps, 1 in the paper.
      batch_size: as for `reptile`.
      adapt_only, gradient, remat, truncate: as for `maml`.

    Example:
      >>> import jaxmeta as jm
      >>> learner = meta_sgd(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse)
    """
    steps = descent(
        model,
        loss_fn,
        num_steps=num_steps,
        batch_size=batch_size,
        adapt_only=adapt_only,
        gradient=gradient,
        remat=remat,
        truncate=truncate,
    )
    low, high = init_lr if isinstance(init_lr, tuple) else (init_lr, init_lr)

    def init(key: Key, task: Task) -> Variables:
        k_model, k_lr = jax.random.split(key)
        variables = model.init(k_model, task.support.x)
        leaves, treedef = jax.tree.flatten(variables.params)
        keys = jax.random.split(k_lr, len(leaves))
        rates = [jax.random.uniform(k, p.shape, p.dtype, low, high) for k, p in zip(keys, leaves, strict=True)]
        return Variables({"model": variables.params, "lr": jax.tree.unflatten(treedef, rates)}, variables.state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        scale = lambda g, a: None if g is None else -a * g  # None: a frozen parameter
        is_none = lambda leaf: leaf is None
        rule = optax.stateless(lambda grads, _: jax.tree.map(scale, grads, meta.params["lr"], is_leaf=is_none))
        return steps(Variables(meta.params["model"], meta.state), rule, support, key, train=train)

    return episodic(init, adapt, fast_weights(model), loss_fn, keeps_state=model.keeps_state)
