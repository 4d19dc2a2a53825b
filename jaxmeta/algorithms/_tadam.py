"""TADAM: a prototype network whose embedding is conditioned on the task, and whose metric has a learned scale.

Oreshkin, Rodriguez and Lacoste, 2018, https://arxiv.org/abs/1805.10123
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from .. import layers
from ..embedding import at_least_float32, embed, embed_support
from ..learner import count_ways, episodic, mask_ways, with_passes
from ..losses import LossFn, cross_entropy
from ..passes import modulate
from ..paths import path_name
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._metric import class_means, sqeuclidean_logits
from ._set_encoders import embedding_size


def tadam(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    conditioned: Sequence[str],
    hidden: int = 64,
    init_scale: float = 1.0,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""TADAM: $-\alpha \|f_\theta(x, \Gamma) - c_w\|^2$, where $\Gamma$ follows from the mean of the task's prototypes.

    A first pass over the support set, without condition, gives prototypes and their mean $\bar c$. For each
    conditioned layer a small network makes $(\gamma, \beta) = \rho \circ h(\bar c)$; the layer is followed by
    $(1 + \gamma) \circ z + \beta$ in the passes that count. $\rho$ is learned from 0, where this is `protonet`, and so
    is the scale $\alpha$. A dense layer or convolution gets $\beta$ alone. ``meta.params`` is ``{"model": theta,
    "condition": {layer: ...}, "log_scale": log alpha}``. Left out: training on all classes beside episodes.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`.
      conditioned: paths of layers with a bias, such as ``["norm0", "norm1"]`` of `Conv4`.
      hidden: width of the hidden layer of $h$.
      init_scale: $\alpha$ at the start.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Returns:
      A `MetaLearner`; `adapt` returns ``{"shift": {layer: ...}, "means": [W, D], ...}``.

    Raises:
      ValueError: if a conditioned layer has no bias or none is named, or ``init_scale`` is not positive.

    Example:
      >>> import jaxmeta as jm
      >>> learner = tadam(jm.from_linen(jm.backbones.Conv4(features=4)), conditioned=["norm2", "norm3"])
      >>> task = jm.tasks.glyphs(size=16)(jax.random.key(0))
      >>> learner.adapt(learner.init(jax.random.key(1), task), task.support)["shift"]["norm2"].shape
      (8,)
    """
    if not conditioned or not init_scale > 0:
        raise ValueError(
            f"`conditioned` must name layers and `init_scale` be > 0, got {list(conditioned)}, {init_scale}."
        )

    def init(key: Key, task: Task) -> Variables:
        k_model, *keys = jax.random.split(key, 1 + len(conditioned))
        variables = model.init(k_model, task.support.x)
        leaves = {path_name(path): p for path, p in jax.tree_util.tree_leaves_with_path(variables.params)}
        missing = [layer for layer in conditioned if f"{layer}/bias" not in leaves]
        if missing:
            known = [path.removesuffix("/bias") for path in leaves if path.endswith("/bias")]
            raise ValueError(f"`conditioned` has {missing}, which are no layers with a bias. There are {known}.")
        size, condition = embedding_size(model, variables, task.support.x), {}
        for layer, k in zip(conditioned, keys, strict=True):
            width = len(leaves[f"{layer}/bias"]) * (2 if f"{layer}/scale" in leaves else 1)
            condition[layer] = {"net": layers.mlp_init(k, (size, hidden, width)), "post": jnp.zeros(width)}
        log_scale = jnp.log(jnp.float32(init_scale))
        return Variables({"model": variables.params, "condition": condition, "log_scale": log_scale}, variables.state)

    def under(shifts: dict[str, jax.Array]) -> Model:
        def moved(params: PyTree) -> PyTree:
            for layer, shift in shifts.items():
                params = modulate(params, layer, shift)
            return params

        return with_passes(model, params=moved)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> dict[str, PyTree]:
        p, variables = meta.params, Variables(meta.params["model"], meta.state)
        width = count_ways(support, num_ways)
        prototypes = lambda z: class_means(z, support.y, width, support.weight)
        z, _ = embed_support(model, variables, support, key, train=train)
        here = jnp.ones(width, bool) if support.ways is None else support.ways
        task = (prototypes(z) * here[:, None].astype(z.dtype)).sum(0) / jnp.maximum(here.sum(), 1).astype(z.dtype)
        shift = {name: c["post"] * layers.mlp(c["net"], task) for name, c in p["condition"].items()}
        z, state = embed_support(under(shift), variables, support, key, train=train)
        return {"shift": shift, "means": prototypes(z), "ways": support.ways, "state": state}

    def forward(
        meta: Variables,
        adapted: dict[str, PyTree],
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ) -> tuple[jax.Array, PyTree]:
        variables = Variables(meta.params["model"], adapted["state"])
        z, state = embed(under(adapted["shift"]), variables, x, key, train=train, weight=weight)
        logits = jnp.exp(at_least_float32(meta.params["log_scale"])) * sqeuclidean_logits(z, adapted["means"])
        return mask_ways(logits, adapted["ways"]), state

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state)
