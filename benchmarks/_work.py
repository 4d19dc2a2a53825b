"""What the speed benchmarks compute: the exact meta-gradient of MAML on one network, one batch of tasks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen


class Work(NamedTuple):
    """One row of the table. ``pool``: max-pooling after stride 1 instead of stride 2 and a mean over the last map."""

    features: int
    pool: bool
    size: int
    channels: int
    tasks: int
    queries: int
    steps: int
    shots: int = 1
    ways: int = 5
    lr: float = 0.1


WORKS = {
    "A": Work(features=64, pool=False, size=28, channels=1, tasks=32, queries=1, steps=1),
    "B": Work(features=64, pool=False, size=28, channels=1, tasks=32, queries=15, steps=5),
    "C": Work(features=32, pool=True, size=84, channels=3, tasks=4, queries=15, steps=5),
}


class Net(linen.Module):
    """Four blocks of stock flax, as a user would write them; padding as PyTorch has it."""

    work: Work
    head: bool = True
    max_pool: Callable[[Any], Any] = partial(linen.max_pool, window_shape=(2, 2), strides=(2, 2))

    @linen.compact
    def __call__(self, x):
        strides = 1 if self.work.pool else 2
        for i in range(4):
            conv = {"strides": strides, "padding": 1, "use_bias": False}
            x = linen.Conv(self.work.features, (3, 3), **conv, name=f"conv{i}")(x)
            x = linen.relu(linen.BatchNorm(use_running_average=False, name=f"norm{i}")(x))
            x = self.max_pool(x) if self.work.pool else x
        x = x.reshape(len(x), -1) if self.work.pool else x.mean((1, 2))
        return linen.Dense(self.work.ways, name="head")(x) if self.head else x


def arrays(work: Work, seed: int = 0) -> dict[str, np.ndarray]:
    """Tasks of noise with a mean per class, stacked ``[T, N, ...]``."""
    rng = np.random.default_rng(seed)
    shape = (work.size, work.size, work.channels)
    means = rng.normal(size=(work.tasks, work.ways, 1, *shape))

    def examples(each: int):
        x = means + rng.normal(size=(work.tasks, work.ways, each, *shape))
        y = np.tile(np.repeat(np.arange(work.ways), each), (work.tasks, 1))
        return x.reshape(work.tasks, -1, *shape).astype(np.float32), y

    (xs, ys), (xq, yq) = examples(work.shots), examples(work.queries)
    return {"xs": xs, "ys": ys, "xq": xq, "yq": yq}


def inputs(net: linen.Module, work: Work, dtype: type = np.float32) -> tuple[dict[str, np.ndarray], Any]:
    """Tasks and initial parameters, floats of one type."""
    data = arrays(work)
    params = jax.jit(net.init)(jax.random.key(0), data["xs"][0])["params"]
    cast = lambda a: np.asarray(a, dtype) if np.issubdtype(a.dtype, np.floating) else a
    return jax.tree.map(cast, data), jax.tree.map(cast, params)
