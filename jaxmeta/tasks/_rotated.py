"""A shifted family of tasks: the images of another sampler, all turned by one angle."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, PyTree, Sampler, Task

from ._checks import finite
from ._classes import Classes, classes_of
from ._layout import Layout


def rotated(sampler: Sampler, degrees: float) -> "Rotated":
    """Return a sampler of the tasks of another one, with all images turned counter-clockwise about their centre.

    Pixels are interpolated bilinearly; points outside an image count as 0. The angle is a leaf: samplers that differ
    only in the angle share compiled functions, so a list of them is a stream of shifting tasks for `replay`.

    Args:
      sampler: its inputs are one array of square images ``[N, H, H]`` or ``[N, H, H, channels]``.
      degrees: the angle.

    Raises:
      TypeError, ValueError: if ``degrees`` is no finite number; when a task is drawn, if its inputs are no square
        images.

    Example:
      >>> from jaxmeta import tasks
      >>> stream = [rotated(tasks.glyphs(seed=p), 36 * p) for p in range(5)]
      >>> stream[1](jax.random.key(0)).query.x.shape
      (25, 28, 28, 1)
    """
    return Rotated(sampler, jnp.float32(finite("degrees", degrees)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Rotated:
    """The sampler that `rotated` returns."""

    sampler: Any
    degrees: jax.Array

    def draw(self, key: Key) -> PyTree:
        """Draw the random choices of the sampler within."""
        return self.sampler.draw(key)

    def fetch(self, indices: PyTree) -> Task:
        """Fetch the task and turn its images."""
        return self._turn(self.sampler.fetch(indices))

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``; the sampler within may be a plain function."""
        return self._turn(self.sampler(key))

    def classes(self) -> Classes | None:
        """Return the classes of the sampler within."""
        return classes_of(self.sampler)

    def with_layout(self, layout: Layout) -> "Rotated":
        """Return a sampler of turned episodes of another layout."""
        return replace(self, sampler=self.sampler.with_layout(layout))

    def class_indices(self, indices: PyTree) -> jax.Array:
        """Return the class of each way."""
        return self.sampler.class_indices(indices)

    def _turn(self, task: Task) -> Task:
        turn = lambda batch: batch._replace(x=turn_images(_images(batch), self.degrees))
        return Task(task.support and turn(task.support), turn(task.query))


def turn_images(images: jax.Array, degrees: jax.Array) -> jax.Array:
    """Turn images ``[N, H, H, ...]`` counter-clockwise.

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
    """Return the inputs if they are one array of square images, or raise a ValueError."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(batch.x)]
    if len(shapes) != 1 or len(shapes[0]) not in (3, 4) or shapes[0][1] != shapes[0][2]:
        raise ValueError(
            f"`rotated` turns square images [N, H, H] or [N, H, H, channels], but the sampler's inputs are {shapes}. "
            "Crop the images to squares first."
        )
    return jax.tree.leaves(batch.x)[0]
