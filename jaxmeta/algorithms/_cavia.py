"""CAVIA: adapt a few context parameters that modulate one layer, and nothing else.

Zintgraf, Shiarlis, Kurin, Hofmann and Whiteson, 2019, https://arxiv.org/abs/1810.03642
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from ..inner import Gradient
from ..learner import Adapted, descent, episodic, fast_weights, with_passes
from ..losses import LossFn
from ..passes import modulate
from ..paths import path_name
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables


def cavia(
    model: Model,
    loss_fn: LossFn,
    *,
    layer: str,
    num_context: int = 5,
    inner_optimizer: optax.GradientTransformation = optax.sgd(1.0),
    num_steps: int = 1,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""CAVIA: $\phi_{k+1} = \phi_k - \alpha \nabla_\phi L_S(\theta, \phi_k)$ from $\phi_0 = 0$, with a fixed $\theta$.

    The context $\phi \in \mathbb R^C$ acts on one layer by a learned matrix $V$. A dense layer or a convolution sees
    it concatenated to its inputs: $[x, \phi] [W; V] + b = x W + (b + \phi V)$, so that only the bias depends on the
    task. A normalisation layer with a scale is followed by FiLM, $\gamma \circ h + \beta$ with
    $(\gamma - 1, \beta) = \phi V$. ``meta.params`` is ``{"model": theta, "context": V}``.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      layer: path of the layer, such as ``"dense0"`` of an MLP (concatenation) or ``"norm2"`` of `Conv4` (FiLM).
      num_context: $C$; the paper takes 5 for sinusoids and 100 for images.
      inner_optimizer, num_steps, gradient, remat, truncate: as for `maml`.

    Returns:
      A `MetaLearner`; ``adapt(...).params`` is the context ``[C]``: all that a task needs beside `meta`.

    Raises:
      ValueError: if ``num_context`` is below 1, or ``layer`` has no bias.

    Example:
      >>> import jaxmeta as jm
      >>> learner = cavia(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse, layer="dense0")
      >>> task = jm.tasks.sinusoid()(jax.random.key(0))
      >>> learner.adapt(learner.init(jax.random.key(1), task), task.support).params.shape
      (5,)
    """
    if num_context < 1:
        raise ValueError(f"`num_context` must be >= 1, got {num_context}: nothing else adapts.")

    def init(key: Key, task: Task) -> Variables:
        k_model, k_context = jax.random.split(key)
        variables = model.init(k_model, task.support.x)
        leaves = {path_name(path): p for path, p in jax.tree_util.tree_leaves_with_path(variables.params)}
        if f"{layer}/bias" not in leaves:
            layers = [path.removesuffix("/bias") for path in leaves if path.endswith("/bias")]
            raise ValueError(f"`layer` must be the path of a layer with a bias, got {layer!r}. There are {layers}.")
        bias, kernel = leaves[f"{layer}/bias"], leaves.get(f"{layer}/kernel")
        fan_in = num_context + (0 if kernel is None else math.prod(kernel.shape[:-1]))
        width = len(bias) * (2 if f"{layer}/scale" in leaves else 1)
        bound = fan_in**-0.5
        weights = jax.random.uniform(k_context, (num_context, width), bias.dtype, -bound, bound)
        return Variables({"model": variables.params, "context": weights}, variables.state)

    def decoded(meta: Variables) -> Model:
        def decode(context: jax.Array) -> PyTree:
            return modulate(meta.params["model"], layer, context @ meta.params["context"])

        return with_passes(model, params=decode)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        steps = descent(decoded(meta), loss_fn, num_steps=num_steps, gradient=gradient, remat=remat, truncate=truncate)
        start = jnp.zeros(num_context, meta.params["context"].dtype)
        return steps(Variables(start, meta.state), inner_optimizer, support, key, train=train)

    def forward(
        meta: Variables,
        adapted: Adapted,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        return fast_weights(decoded(meta))(meta, adapted, x, key, train=train, weight=weight)

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state)
