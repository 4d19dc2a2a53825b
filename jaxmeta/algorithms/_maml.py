"""Model-agnostic meta-learning: meta-learn an initialisation from which a few gradient steps suffice.

Finn, Abbeel and Levine, 2017, https://arxiv.org/abs/1703.03400
"""

from collections.abc import Callable
from typing import Literal

import optax

from ..inner import Gradient
from ..learner import Adapted, descent, episodic, fast_weights, init_model
from ..losses import LossFn
from ..types import Batch, Key, MetaLearner, Model, Variables


def maml(
    model: Model,
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01),
    num_steps: int = 5,
    first_order: bool = False,
    adapt_only: Callable[[str], bool] | None = None,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""MAML, or FOMAML with ``first_order=True``.

    With $\phi_0 = \theta$ and support loss $L_S$, adaptation is $\phi_{k+1} = \phi_k - \alpha \nabla L_S(\phi_k)$
    for ``num_steps`` steps (or the steps of any optax optimizer), and the outer loss is $L_Q(\phi_K)$. FOMAML
    treats $\nabla L_S(\phi_k)$ as a constant.

    Args:
      model: the backbone.
      loss_fn: ``(outputs [N, ...], targets [N, ...], weight=None)`` -> scalar or per example, for both sets.
      inner_optimizer: any optax optimizer; for Adam use `jaxmeta.inner.adam`, whose derivative stays small.
      num_steps: inner steps. More steps at test time: build a second learner, `meta` is shared.
      first_order: drop second derivatives from the outer gradient.
      adapt_only: predicate on a parameter's path (``"head/kernel"``) that chooses what adapts; all by default.
      gradient: ``"mixed"`` or ``"reverse"``, two ways to the same exact derivative: see `inner.descend`.
      remat: recompute groups of so many steps in the backward pass: see `inner.descend`.
      truncate: differentiate only the last so many steps exactly, an approximation: see `inner.descend`.

    Returns:
      A `MetaLearner`; `adapt` returns `Adapted` parameters.

    Raises:
      ValueError: if ``num_steps`` is negative, or ``adapt_only`` chooses nothing.

    Example:
      >>> import jax, jaxmeta as jm
      >>> model = jm.from_functions(lambda key, x: jax.numpy.zeros(()), lambda v, x: x * v.params)
      >>> learner = maml(model, jm.losses.mse, inner_optimizer=optax.sgd(0.25), num_steps=1)
      >>> support = jm.Batch(jax.numpy.ones((1, 1)), jax.numpy.ones((1, 1)))
      >>> learner.adapt(Variables(jax.numpy.zeros(())), support).params  # 0 - 0.25 * (-2)
      Array(0.5, dtype=float32)
    """
    gradient = "first_order" if first_order else gradient
    steps = descent(
        model,
        loss_fn,
        num_steps=num_steps,
        adapt_only=adapt_only,
        gradient=gradient,
        remat=remat,
        truncate=truncate,
    )

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        return steps(meta, inner_optimizer, support, key, train=train)

    return episodic(init_model(model), adapt, fast_weights(model), loss_fn, keeps_state=model.keeps_state)
