"""A task of one family or of another: which, the learner must find out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Key, PyTree, Sampler, Task


def mixture(*samplers: Sampler, weights: Sequence[float] | None = None) -> "Mixture":
    """A sampler that makes each task by one of several samplers, chosen at random.

    Args:
      samplers: their tasks have the same shapes and dtypes.
      weights: of each sampler, in proportion; equal by default.

    Raises:
      ValueError: if there is no sampler, tasks differ in shape, or weights are not positive, one for each.

    Example:
      >>> from jaxmeta import tasks
      >>> both = mixture(tasks.sinusoid(num_shots=5), tasks.lines(num_shots=5))
      >>> both(jax.random.key(0)).support.x.shape
      (5, 1)
    """
    weights = (1.0,) * len(samplers) if weights is None else tuple(weights)
    if not samplers or len(weights) != len(samplers) or not all(0 < w < float("inf") for w in weights):
        raise ValueError(f"`weights` must be a positive number for each of {len(samplers)} samplers, got {weights!r}.")
    shapes = [_shapes(sampler) for sampler in samplers]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(f"`samplers` must make tasks of one shape, but number {i} makes {shape}, 0 {shapes[0]}.")
    return Mixture(samplers, jnp.log(jnp.asarray(weights, jnp.float32)))


def _shapes(sampler: Sampler) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(sampler, jax.random.key(0)))
    return {jax.tree_util.keystr(path, simple=True, separator="."): f"{a.dtype}{list(a.shape)}" for path, a in leaves}


class Choice(NamedTuple):
    """Which sampler, int32, and what each of them drew."""

    which: jax.Array
    drawn: tuple[PyTree, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Mixture:
    """The sampler that `mixture` makes."""

    samplers: tuple[Any, ...]
    logits: jax.Array

    def draw(self, key: Key) -> Choice:
        """Draws which sampler, and what it draws."""
        k_which, *keys = jax.random.split(key, len(self.samplers) + 1)
        drawn = tuple(sampler.draw(k) for sampler, k in zip(self.samplers, keys, strict=True))
        return Choice(jax.random.categorical(k_which, self.logits), drawn)

    def fetch(self, indices: Choice) -> Task:
        """Makes the chosen sampler's task."""
        branches = [lambda drawn, i=i, s=s: s.fetch(drawn[i]) for i, s in enumerate(self.samplers)]
        return jax.lax.switch(indices.which, branches, indices.drawn)

    def __call__(self, key: Key) -> Task:
        """Makes the task of ``key``."""
        return self.fetch(self.draw(key))
