"""Tasks from several families: the learner is not told which family a task belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Key, PyTree, Sampler, Task

from ._checks import finite


def mixture(*samplers: Sampler, weights: Sequence[float] | None = None) -> "Mixture":
    """Return a sampler that draws each task from one of several samplers, chosen at random.

    Args:
      samplers: samplers whose tasks have the same shapes and dtypes.
      weights: positive numbers proportional to the probability of each sampler; equal by default.

    Raises:
      TypeError, ValueError: if there is no sampler, the tasks differ in shape, or the weights are not one finite
        positive number for each sampler.

    Example:
      >>> from jaxmeta import tasks
      >>> both = mixture(tasks.sinusoid(num_shots=5), tasks.lines(num_shots=5))
      >>> both(jax.random.key(0)).support.x.shape
      (5, 1)
    """
    weights = (1.0,) * len(samplers) if weights is None else tuple(weights)
    if not samplers or len(weights) != len(samplers) or not all(finite("weights", w) > 0 for w in weights):
        raise ValueError(f"`weights` must be a positive number for each of {len(samplers)} samplers, got {weights!r}.")
    shapes = [_shapes(sampler) for sampler in samplers]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"`samplers` must have tasks of one shape, but number {i} has {shape} and number 0 has {shapes[0]}."
            )
    return Mixture(samplers, jnp.log(jnp.asarray(weights, jnp.float32)))


def _shapes(sampler: Sampler) -> dict[str, str]:
    """Return the dtype and shape of each array of a task by name."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(sampler, jax.random.key(0)))
    return {jax.tree_util.keystr(path, simple=True, separator="."): f"{a.dtype}{list(a.shape)}" for path, a in leaves}


class Choice(NamedTuple):
    """The random choices behind one task.

    Attributes:
      which: the number of the sampler, int32.
      drawn: the choices of every sampler.
    """

    which: jax.Array
    drawn: tuple[PyTree, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Mixture:
    """The sampler that `mixture` returns."""

    samplers: tuple[Any, ...]
    logits: jax.Array

    def draw(self, key: Key) -> Choice:
        """Draw the number of a sampler, and the choices of every sampler."""
        k_which, *keys = jax.random.split(key, len(self.samplers) + 1)
        drawn = tuple(sampler.draw(k) for sampler, k in zip(self.samplers, keys, strict=True))
        return Choice(jax.random.categorical(k_which, self.logits), drawn)

    def fetch(self, indices: Choice) -> Task:
        """Fetch the task of the chosen sampler."""
        branches = [lambda drawn, i=i, s=s: s.fetch(drawn[i]) for i, s in enumerate(self.samplers)]
        return jax.lax.switch(indices.which, branches, indices.drawn)

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
        return self.fetch(self.draw(key))
