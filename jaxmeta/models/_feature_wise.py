"""Feature-wise transformation: noise of scale and shift in training, so that features do not rely on one domain.

Tseng, Lee, Huang and Yang, 2020, https://arxiv.org/abs/2001.08735
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..passes import around, modulate
from ..paths import path_name
from ..types import Apply, Key, Model, PyTree, Variables


def feature_wise(model: Model, layers: Sequence[str], *, scale_std: float = 0.3, shift_std: float = 0.5) -> Model:
    r"""Return the model whose layers are followed in training by $\gamma \circ z + \beta$ with random $\gamma, \beta$.

    $\gamma \sim \mathcal N(1, \sigma_\gamma^2)$ and $\beta \sim \mathcal N(0, \sigma_\beta^2)$, a number for each
    channel, drawn anew for every pass from its key, with $\sigma = \log(1 + e^s)$. In evaluation, and without a key,
    the model stays as it is. Left out: learning $\sigma_\gamma$ and $\sigma_\beta$ on pseudo-unseen domains.

    Args:
      model: the network.
      layers: paths of normalisation layers with scale and bias, such as ``["norm0", "norm1"]`` of `Conv4`.
      scale_std, shift_std: $s$ for $\gamma$ and for $\beta$; the authors' 0.3 and 0.5.

    Raises:
      ValueError: if no layer is named; from a training pass, if a layer has no scale and bias.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(jm.backbones.Conv4(features=4), norm="running")
      >>> learner = jm.protonet(jm.feature_wise(model, ["norm0", "norm1", "norm2", "norm3"]))
    """
    if not layers:
        raise ValueError("`layers` names no layer, so nothing would change.")
    stds = [math.log1p(math.exp(s)) for s in (scale_std, shift_std)]

    def run(
        apply: Apply,
        variables: Variables,
        x: PyTree,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        key: Key | None = None,
    ) -> tuple[Any, PyTree]:
        if train and key is not None:
            key, k_noise = jax.random.split(key)
            variables = Variables(_noisy(variables.params, layers, stds, k_noise), variables.state)
        return apply(variables, x, train=train, weight=weight, key=key)

    return around(model, run)


def _noisy(params: PyTree, layers: Sequence[str], stds: Sequence[float], key: Key) -> PyTree:
    leaves = {path_name(path): p for path, p in jax.tree_util.tree_leaves_with_path(params)}
    missing = [layer for layer in layers if not {f"{layer}/scale", f"{layer}/bias"} <= {*leaves}]
    if missing:
        known = [path.removesuffix("/scale") for path in leaves if path.endswith("/scale")]
        raise ValueError(f"`layers` has {missing}, which have no scale and bias. There are {known}.")
    for layer, k in zip(layers, jax.random.split(key, len(layers)), strict=True):
        bias = leaves[f"{layer}/bias"]
        noise = jax.random.normal(k, (2, len(bias)), bias.dtype) * jnp.array(stds, bias.dtype)[:, None]
        params = modulate(params, layer, noise.reshape(-1))
    return params
