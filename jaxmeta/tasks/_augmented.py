"""Augmentation: crop, mirror and relight the images of another sampler each time one is drawn.

Crops follow Szegedy et al., 2014, https://arxiv.org/abs/1409.4842, but keep the shape of the image.

Letters: N images of H x W pixels.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, PyTree, Sampler, Task

from ._checks import finite
from ._classes import Classes, classes_of
from ._layout import Layout


def augmented(sampler: Sampler, *, crop: float = 0.6, flip: bool = True, jitter: float = 0.4) -> "Augmented":
    """Return a sampler of the tasks of another one with randomly changed images. Use it for training tasks only.

    Each image of each task draws its own view, on the device: a part of the image, enlarged bilinearly to the whole;
    a horizontal mirror; brightness, contrast and saturation. A view depends only on the key. To measure on unchanged
    images, give `evaluate` the sampler within.

    Args:
      sampler: its inputs are one array of images ``[N, H, W, channels]`` in [0, 1]; `episodes` and `batches` scale
        uint8 images to that.
      crop: the smallest share of height and width that a view keeps, in (0, 1]. Each image draws its share uniformly
        from ``crop`` to 1, and the position of the crop uniformly. 1 leaves images whole.
      flip: whether an image is mirrored with probability a half; False for letters.
      jitter: brightness, contrast and saturation are each multiplied by a factor drawn from 1 - jitter to
        1 + jitter, from [0, 1). Saturation changes colour images only.

    Raises:
      TypeError, ValueError: for a ``crop`` or ``jitter`` out of range; when a task is drawn, for inputs that are no
        images.

    Example:
      >>> from jaxmeta import tasks
      >>> sampler = augmented(tasks.glyphs(num_ways=2, num_shots=1, num_queries=3), crop=0.8, flip=False)
      >>> jax.eval_shape(sampler, jax.random.key(0)).query.x.shape
      (6, 28, 28, 1)
    """
    if not 0 < finite("crop", crop) <= 1:
        raise ValueError(f"`crop` is the smallest share of a side, above 0 and at most 1, got {crop!r}.")
    if not 0 <= finite("jitter", jitter) < 1:
        raise ValueError(
            f"`jitter` is the largest distance of a factor from 1, at least 0 and below 1, got {jitter!r}."
        )
    return Augmented(sampler, float(crop), bool(flip), float(jitter))


class View(NamedTuple):
    """The random changes of N images.

    Attributes:
      side: ``[N]``, the share of height and width that the crop keeps.
      corner: ``[N, 2]``, the position of the crop: 0 is top or left, 1 is bottom or right.
      mirrored: bool ``[N]``.
      light: ``[N, 3]``, the factors of saturation, contrast and brightness.
    """

    side: jax.Array
    corner: jax.Array
    mirrored: jax.Array
    light: jax.Array


class Views(NamedTuple):
    """The random choices behind one task: those of the sampler within, and the views of the images."""

    indices: PyTree
    support: View | None
    query: View


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Augmented:
    """The sampler that `augmented` returns."""

    sampler: Any
    crop: float = field(metadata={"static": True})
    flip: bool = field(metadata={"static": True})
    jitter: float = field(metadata={"static": True})

    def draw(self, key: Key) -> Views:
        """Draw the choices of the sampler within, and a view of each image."""
        k_task, k_support, k_query = jax.random.split(key, 3)
        indices = self.sampler.draw(k_task)
        support, query = jax.eval_shape(self.sampler.fetch, indices)
        return Views(indices, support and self._draw_view(k_support, support), self._draw_view(k_query, query))

    def fetch(self, indices: Views) -> Task:
        """Fetch the task of the sampler within, and change its images."""
        support, query = self.sampler.fetch(indices.indices)
        return Task(support and self._apply(support, indices.support), self._apply(query, indices.query))

    def __call__(self, key: Key) -> Task:
        """Return the task of ``key``."""
        return self.fetch(self.draw(key))

    def classes(self) -> Classes | None:
        """Return the classes of the sampler within."""
        return classes_of(self.sampler)

    def with_layout(self, layout: Layout) -> "Augmented":
        """Return a sampler of augmented episodes of another layout."""
        return replace(self, sampler=self.sampler.with_layout(layout))

    def class_indices(self, indices: Views) -> jax.Array:
        """Return the class of each way."""
        return self.sampler.class_indices(indices.indices)

    def _draw_view(self, key: Key, batch: Batch) -> View:
        n, (k_side, k_corner, k_flip, k_light) = _images(batch).shape[0], jax.random.split(key, 4)
        side = jax.random.uniform(k_side, [n], minval=self.crop, maxval=1.0)
        mirrored = jax.random.bernoulli(k_flip, 0.5, [n]) & self.flip
        light = jax.random.uniform(k_light, [n, 3], minval=1 - self.jitter, maxval=1 + self.jitter)
        return View(side, jax.random.uniform(k_corner, [n, 2]), mirrored, light)

    def _apply(self, batch: Batch, view: Any) -> Batch:
        x = _images(batch)
        x = x if self.crop == 1 else jax.vmap(cut)(x, view.side, view.corner)
        x = jnp.where(view.mirrored[:, None, None, None], x[:, :, ::-1], x) if self.flip else x
        return batch._replace(x=jax.vmap(relight)(x, view.light) if self.jitter else x)


def cut(image: jax.Array, side: jax.Array, corner: jax.Array) -> jax.Array:
    """Crop an image ``[H, W, C]`` and enlarge the part bilinearly to the whole, by two matrix products.

    Example:
      >>> image = jnp.arange(4.0).reshape(1, 4, 1)
      >>> cut(image, jnp.float32(0.5), jnp.array([0.0, 1.0])).ravel().tolist()
      [1.75, 2.25, 2.75, 3.0]
    """
    rows, columns = (_weights(n, side, start) for n, start in zip(image.shape[:2], corner, strict=True))
    return jnp.einsum("ih,jw,hwc->ijc", rows, columns, image)


def relight(image: jax.Array, light: jax.Array) -> jax.Array:
    """Multiply saturation, contrast and brightness of an image ``[H, W, C]`` in [0, 1] by three factors.

    Example:
      >>> relight(jnp.array([[[0.25, 0.75]]]), jnp.array([0.5, 1.0, 1.0])).tolist()
      [[[0.375, 0.625]]]
    """
    grey = image.mean(-1, keepdims=True)
    image = grey + light[0] * (image - grey)
    mean = image.mean()
    return jnp.clip(light[2] * (mean + light[1] * (image - mean)), 0, 1)


def _weights(size: int, side: jax.Array, start: jax.Array) -> jax.Array:
    """Return the weight of pixel ``j`` of the whole image in pixel ``i`` of the part; edge pixels repeat outside."""
    pixel = jnp.arange(size, dtype=jnp.float32)
    place = size * start * (1 - side) + side * (pixel + 0.5) - 0.5
    place = jnp.clip(place, 0, size - 1)
    return jnp.maximum(0, 1 - jnp.abs(place[:, None] - pixel[None]))


def _images(batch: Batch) -> jax.Array:
    """Return the inputs if they are one array of images, or raise a ValueError."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(batch.x)]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            f"`augmented` wants images [N, H, W, channels], but the sampler's inputs are {shapes}. Leave it out, or "
            "give images their axis of channels."
        )
    return jax.tree.leaves(batch.x)[0]
