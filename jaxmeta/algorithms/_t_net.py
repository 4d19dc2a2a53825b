"""T-Net: learn a linear map behind every layer, which stays while the layer adapts.

Lee and Choi, 2018, https://arxiv.org/abs/1801.05558
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from ..inner import Gradient
from ..learner import Adapted, descent, episodic, fast_weights, with_passes
from ..losses import LossFn
from ..paths import path_name
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables


def t_net(
    model: Model,
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.01),
    num_steps: int = 1,
    adapt_only: Callable[[str], bool] | None = None,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""T-Net: every layer computes $(x W + b) T$; inner steps move $W$ and $b$, the outer loop moves $T$ too.

    A step changes the layer's function as SGD with gradients multiplied by $T^\top T$ would: the outer loop learns
    the metric in which a task adapts. $T$ acts on the output channels of dense layers and convolutions, is square,
    and starts as the identity, where this is `maml`. ``meta.params`` is ``{"model": theta, "maps": {layer: T}}``.

    Args:
      model: the backbone; its layers are the groups of parameters with a ``kernel``.
      loss_fn: as for `maml`.
      inner_optimizer, num_steps, adapt_only, gradient, remat, truncate: as for `maml`.

    Returns:
      A `MetaLearner`; ``adapt(...).params`` are the adapted $W$ and $b$, without $T$.

    Raises:
      ValueError: if the model has no ``kernel``.

    Example:
      >>> import jaxmeta as jm
      >>> learner = t_net(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse)
      >>> task = jm.tasks.sinusoid()(jax.random.key(0))
      >>> sorted(learner.init(jax.random.key(1), task).params["maps"])
      ['dense0', 'head']
    """

    def init(key: Key, task: Task) -> Variables:
        variables = model.init(key, task.support.x)
        leaves = [(path_name(path), p) for path, p in jax.tree_util.tree_leaves_with_path(variables.params)]
        maps = {_layer(path): jnp.eye(p.shape[-1], dtype=p.dtype) for path, p in leaves if _is_part(path, "kernel")}
        if not maps:
            raise ValueError(
                f"The model has no `kernel` to put a map behind. Its parameters: {[p for p, _ in leaves]}."
            )
        return Variables({"model": variables.params, "maps": maps}, variables.state)

    def mapped(meta: Variables) -> Model:
        def through(path: tuple[Any, ...], p: jax.Array) -> jax.Array:
            name, maps = path_name(path), meta.params["maps"]
            inside = (_is_part(name, "kernel") or _is_part(name, "bias")) and _layer(name) in maps
            return p @ maps[_layer(name)] if inside else p

        return with_passes(model, params=lambda p: jax.tree_util.tree_map_with_path(through, p))

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        steps = descent(
            mapped(meta),
            loss_fn,
            num_steps=num_steps,
            adapt_only=adapt_only,
            gradient=gradient,
            remat=remat,
            truncate=truncate,
        )
        return steps(Variables(meta.params["model"], meta.state), inner_optimizer, support, key, train=train)

    def forward(
        meta: Variables,
        adapted: Adapted,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        return fast_weights(mapped(meta))(meta, adapted, x, key, train=train, weight=weight)

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state)


def _is_part(path: str, name: str) -> bool:
    return path.split("/")[-1] == name


def _layer(path: str) -> str:
    return ".".join(path.split("/")[:-1])
