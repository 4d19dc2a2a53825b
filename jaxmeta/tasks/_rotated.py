"""The images of another sampler, all turned by one angle: a shifted family of the same tasks."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, PyTree, Sampler, Task


def rotated(sampler: Sampler, degrees: float) -> "Rotated":
    """A sampler whose images are those of another, turned counter-clockwise about their centre.

    Bilinear between pixels; what comes from outside an image is 0. The angle is a leaf: samplers that differ in it
    alone share compiled functions, so a list of them is a stream of shifting tasks for `replay`.

    Args:
      sampler: its inputs are one array of square images ``[N, H, H]`` or ``[N, H, H, channels]``.
      degrees: the angle.

    Raises:
      ValueError: when a task is made, if its inputs are no square images.

    Example:
      >>> from jaxmeta import tasks
      >>> stream = [rotated(tasks.glyphs(seed=p), 36 * p) for p in range(5)]
      >>> stream[1](jax.random.key(0)).query.x.shape
      (25, 28, 28, 1)
    """
    return Rotated(sampler, jnp.asarray(degrees, jnp.float32))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Rotated:
    """The sampler that `rotated` makes."""

    sampler: Any
    degrees: jax.Array

    def draw(self, key: Key) -> PyTree:
        """Draws what the sampler within draws."""
        return self.sampler.draw(key)

    def fetch(self, indices: PyTree) -> Task:
        """Makes the task and turns its images."""
        return self._turn(self.sampler.fetch(indices))

    def __call__(self, key: Key) -> Task:
        """Makes the task of ``key``; the sampler within may be a plain function."""
        return self._turn(self.sampler(key))

    def _turn(self, task: Task) -> Task:
        turn = lambda batch: batch._replace(x=turn_images(_images(batch), self.degrees))
        return Task(turn(task.support), turn(task.query))


def turn_images(images: jax.Array, degrees: jax.Array) -> jax.Array:
    """Turns ``[N, H, H, ...]`` counter-clockwise.

    Example:
      >>> turn_images(jnp.array([[[1.0, 0.0], [0.0, 0.0]]]), jnp.float32(90)).round(5)
      Array([[[0., 0.],
              [1., 0.]]], dtype=float32)
    """
    size, angle = images.shape[1], degrees * jnp.pi / 180
    centred = jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2
    row, column = jnp.meshgrid(centred, centred, indexing="ij")
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    source = [cos * row + sin * column + (size - 1) / 2, cos * column - sin * row + (size - 1) / 2]
    flat = images.reshape(images.shape[0], size, size, -1)
    plane = lambda image: jax.scipy.ndimage.map_coordinates(image, source, order=1)
    turned = jax.vmap(jax.vmap(plane, 2, 2))(flat)
    return turned.reshape(images.shape).astype(images.dtype)


def _images(batch: Batch) -> jax.Array:
    shapes = [leaf.shape for leaf in jax.tree.leaves(batch.x)]
    if len(shapes) != 1 or len(shapes[0]) not in (3, 4) or shapes[0][1] != shapes[0][2]:
        raise ValueError(
            f"`rotated` turns square images [N, H, H] or [N, H, H, channels], but the sampler's inputs are {shapes}. "
            "Crop the images to squares first."
        )
    return jax.tree.leaves(batch.x)[0]
