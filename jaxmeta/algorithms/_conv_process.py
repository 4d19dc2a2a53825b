"""Convolutional conditional neural processes: the support set as a function on a grid, which a network convolves.

Gordon, Bruinsma, Foong, Requeima, Dubois and Turner, 2020, https://arxiv.org/abs/1910.13556

Letters: N support points, Q queries, G points of the grid, C channels, Y targets.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..learner import episodic
from ..losses import Gaussian, LossFn, gaussian_nll
from ..types import Batch, Key, MetaLearner, PyTree, Task, Variables
from ._set_encoders import targets_as_inputs


class OnGrid(NamedTuple):
    """The network's output on the grid, ``[G, C]``."""

    features: jax.Array


def conv_process(
    loss_fn: LossFn = gaussian_nll,
    *,
    bounds: tuple[float, float],
    points_per_unit: int = 16,
    channels: int = 16,
    kernel_size: int = 5,
    num_layers: int = 4,
    min_std: float = 0.05,
) -> MetaLearner:
    r"""ConvCNP on one-dimensional inputs: a shift of all inputs shifts the predictions.

    On a grid $t$ the support set becomes a density $\sum_i k(t - x_i)$ and $\sum_i y_i k(t - x_i)$ divided by it, with
    $k(d) = e^{-d^2 / 2 \ell^2}$. Convolutions with ReLU follow; a query reads $\sum_t f(t) k'(x - t)$, divided by
    $\sum_t k'(x - t)$, from which a linear map gives mean and deviation. $\ell$ and $\ell'$ are learned, and start at
    twice the distance of grid points. Shifts by whole grid steps are exact as long as the points and the reach of the
    convolutions, ``num_layers * (kernel_size - 1) / 2`` grid steps, stay inside the bounds.

    Args:
      loss_fn: on a `losses.Gaussian` of arrays ``[N, Y]`` and targets ``[N, Y]``.
      bounds: the ends of the grid; inputs should lie well inside.
      points_per_unit: grid points in a unit of the inputs.
      channels, kernel_size, num_layers: of the convolutions.
      min_std: the smallest standard deviation, in units of the targets.

    Raises:
      ValueError: if the bounds do not rise, a number is below 1, ``kernel_size`` is even, or inputs are not ``[N, 1]``
        or targets not ``[N, Y]`` floats.

    Example:
      >>> import jaxmeta as jm
      >>> learner, task = conv_process(bounds=(-6, 6), channels=4), jm.tasks.sinusoid()(jax.random.key(0))
      >>> meta = learner.init(jax.random.key(1), task)
      >>> learner.predict(meta, learner.adapt(meta, task.support), task.query.x).mean.shape
      (10, 1)
    """
    low, high = bounds
    if not low < high or min(points_per_unit, channels, num_layers, kernel_size) < 1 or kernel_size % 2 == 0:
        raise ValueError(
            "`bounds` must rise, `points_per_unit`, `channels` and `num_layers` be >= 1 and `kernel_size` odd, got "
            f"{bounds}, {points_per_unit}, {channels}, {num_layers}, {kernel_size}."
        )
    grid = np.arange(round((high - low) * points_per_unit) + 1) / points_per_unit + low

    def init(key: Key, task: Task) -> Variables:
        num_targets = _points(task.support)[1].shape[1]
        *keys, k_head = jax.random.split(key, num_layers + 1)
        widths = (1 + num_targets, *(channels,) * num_layers)
        scale = lambda fan_in: (2 / (kernel_size * fan_in)) ** 0.5
        convolutions = [
            {"kernel": scale(a) * jax.random.normal(k, (kernel_size, a, b)), "bias": jnp.zeros(b)}
            for k, a, b in zip(keys, widths[:-1], widths[1:], strict=True)
        ]
        head = channels**-0.5 * jax.random.normal(k_head, (channels, 2 * num_targets))
        log_scale = jnp.full(2, np.log(2 / points_per_unit), jnp.float32)
        return Variables({"convolutions": convolutions, "head": head, "log_scale": log_scale})

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> OnGrid:
        p, (x, y) = meta.params, _points(support)
        near = _kernel(jnp.asarray(grid, x.dtype), x[:, 0], p["log_scale"][0])
        if support.weight is not None:
            near = near * support.weight[None].astype(near.dtype)
        density = near.sum(1, keepdims=True)
        h = jnp.concatenate([density, near @ y.astype(near.dtype) / (density + 1e-8)], -1)
        h = h.astype(p["head"].dtype)
        for i, layer in enumerate(p["convolutions"]):
            h = _convolved(layer, jax.nn.relu(h) if i else h)
        return OnGrid(h)

    def forward(
        meta: Variables,
        adapted: OnGrid,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ) -> tuple[Gaussian, PyTree]:
        near = _kernel(x[:, 0], jnp.asarray(grid, x.dtype), meta.params["log_scale"][1])
        share = near / (near.sum(1, keepdims=True) + 1e-8)
        features = share.astype(adapted.features.dtype) @ jax.nn.relu(adapted.features)
        mean, std = jnp.split(features @ meta.params["head"], 2, -1)
        return Gaussian(mean, min_std + (1 - min_std) * jax.nn.softplus(std)), meta.state

    return episodic(init, adapt, forward, loss_fn, empty_support=True)


def _kernel(at: jax.Array, points: jax.Array, log_scale: jax.Array) -> jax.Array:
    """Return $k$ between places ``[A]`` and points ``[B]``, ``[A, B]``."""
    distance = (at[:, None] - points[None]) / jnp.exp(log_scale).astype(at.dtype)
    return jnp.exp(-0.5 * distance**2)


def _convolved(p: PyTree, h: jax.Array) -> jax.Array:
    """Convolve ``[G, C]`` along the grid, zeros beyond its ends."""
    out = jax.lax.conv_general_dilated(h[None], p["kernel"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
    return out[0] + p["bias"][None]


def _points(support: Batch) -> tuple[jax.Array, jax.Array]:
    x, y = support.x, support.y
    if not hasattr(x, "ndim") or x.ndim != 2 or x.shape[1] != 1 or jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(
            f"`conv_process` needs inputs [N, 1] and targets [N, Y] of floats, got {jax.tree.map(jnp.shape, x)} and "
            f"{y.dtype} {y.shape}."
        )
    return x, targets_as_inputs(support)
