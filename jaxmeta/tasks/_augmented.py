"""The images of another sampler, each seen anew every time it is drawn: cropped, mirrored, in other light.

Crops as Szegedy et al., 2014, https://arxiv.org/abs/1409.4842 take them, but square. Letters: N images of H x W pixels.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.types import Batch, Key, PyTree, Sampler, Task


def augmented(sampler: Sampler, *, crop: float = 0.6, flip: bool = True, jitter: float = 0.4) -> "Augmented":
    """A sampler whose images are those of another as another camera might have taken them. For training tasks only.

    Each image of each task draws its own view, on the device: a part of the image, enlarged to the whole (bilinear);
    left and right exchanged or not; brightness, contrast and saturation. What happens to an image depends on the
    key alone, and a test on other tasks is not touched: give `evaluate` the sampler within.

    Args:
      sampler: its inputs are one array of images ``[N, H, W, channels]`` in [0, 1]; `episodes` and `batches` scale
        uint8 images to that.
      crop: the smallest part of height and width that is seen, in (0, 1]; each image draws uniformly from there to 1,
        and uniformly where. 1 leaves images whole.
      flip: whether an image is mirrored with probability a half; not for letters.
      jitter: brightness, contrast and saturation are each multiplied by a factor drawn from 1 - jitter to
        1 + jitter, from [0, 1). Saturation is of colour images.

    Raises:
      ValueError: for a ``crop`` or ``jitter`` out of range; when a task is made, for inputs that are no images.

    Example:
      >>> from jaxmeta import tasks
      >>> sampler = augmented(tasks.glyphs(num_ways=2, num_shots=1, num_queries=3), crop=0.8, flip=False)
      >>> sampler(jax.random.key(0)).query.x.shape
      (6, 28, 28, 1)
    """
    if not 0 < crop <= 1:
        raise ValueError(f"`crop` is the smallest part of a side that is seen, above 0 and at most 1, got {crop!r}.")
    if not 0 <= jitter < 1:
        raise ValueError(f"`jitter` is how far factors lie from 1, at least 0 and below 1, got {jitter!r}.")
    return Augmented(sampler, float(crop), bool(flip), float(jitter))


class View(NamedTuple):
    """How images are seen.

    Attributes:
      side: ``[N]``, the part of height and width that is seen.
      corner: ``[N, 2]``, where: 0 is top or left, 1 is bottom or right.
      mirrored: bool ``[N]``.
      light: ``[N, 3]``, factors of saturation, contrast and brightness.
    """

    side: jax.Array
    corner: jax.Array
    mirrored: jax.Array
    light: jax.Array


class Views(NamedTuple):
    """The random choices behind one task: those of the sampler within, and the views of support and query images."""

    indices: PyTree
    support: View | None
    query: View


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Augmented:
    """The sampler that `augmented` makes."""

    sampler: Any
    crop: float = field(metadata={"static": True})
    flip: bool = field(metadata={"static": True})
    jitter: float = field(metadata={"static": True})

    def draw(self, key: Key) -> Views:
        """Draws what the sampler within draws, and a view of each image."""
        k_task, k_support, k_query = jax.random.split(key, 3)
        indices = self.sampler.draw(k_task)
        support, query = jax.eval_shape(self.sampler.fetch, indices)
        return Views(indices, support and self._draw(k_support, support), self._draw(k_query, query))

    def fetch(self, indices: Views) -> Task:
        """Makes the task of the sampler within, and looks at its images."""
        support, query = self.sampler.fetch(indices.indices)
        return Task(support and self._look(support, indices.support), self._look(query, indices.query))

    def __call__(self, key: Key) -> Task:
        """Makes the task of ``key``."""
        return self.fetch(self.draw(key))

    def _draw(self, key: Key, batch: Batch) -> View:
        n, (k_side, k_corner, k_flip, k_light) = _images(batch).shape[0], jax.random.split(key, 4)
        side = jax.random.uniform(k_side, [n], minval=self.crop, maxval=1.0)
        mirrored = jax.random.bernoulli(k_flip, 0.5, [n]) & self.flip
        light = jax.random.uniform(k_light, [n, 3], minval=1 - self.jitter, maxval=1 + self.jitter)
        return View(side, jax.random.uniform(k_corner, [n, 2]), mirrored, light)

    def _look(self, batch: Batch, view: Any) -> Batch:
        x = _images(batch)
        x = x if self.crop == 1 else jax.vmap(cut)(x, view.side, view.corner)
        x = jnp.where(view.mirrored[:, None, None, None], x[:, :, ::-1], x) if self.flip else x
        return batch._replace(x=jax.vmap(relight)(x, view.light) if self.jitter else x)


def cut(image: jax.Array, side: jax.Array, corner: jax.Array) -> jax.Array:
    """A part of an image ``[H, W, C]``, enlarged to the whole: two matrix products, bilinear.

    Example:
      >>> image = jnp.arange(4.0).reshape(1, 4, 1)
      >>> cut(image, jnp.float32(0.5), jnp.array([0.0, 1.0])).ravel().tolist()
      [1.75, 2.25, 2.75, 3.0]
    """
    rows, columns = (_weights(n, side, start) for n, start in zip(image.shape[:2], corner, strict=True))
    return jnp.einsum("ih,jw,hwc->ijc", rows, columns, image)


def relight(image: jax.Array, light: jax.Array) -> jax.Array:
    """An image ``[H, W, C]`` in [0, 1] with saturation, contrast and brightness multiplied by three factors.

    Example:
      >>> relight(jnp.array([[[0.25, 0.75]]]), jnp.array([0.5, 1.0, 1.0])).tolist()
      [[[0.375, 0.625]]]
    """
    grey = image.mean(-1, keepdims=True)
    image = grey + light[0] * (image - grey)
    mean = image.mean()
    return jnp.clip(light[2] * (mean + light[1] * (image - mean)), 0, 1)


def _weights(size: int, side: jax.Array, start: jax.Array) -> jax.Array:
    """What each pixel of the part ``[i]`` takes of each of the whole ``[j]``; beyond the last there is the last."""
    pixel = jnp.arange(size, dtype=jnp.float32)
    place = size * start * (1 - side) + side * (pixel + 0.5) - 0.5
    place = jnp.clip(place, 0, size - 1)
    return jnp.maximum(0, 1 - jnp.abs(place[:, None] - pixel[None]))


def _images(batch: Batch) -> jax.Array:
    shapes = [leaf.shape for leaf in jax.tree.leaves(batch.x)]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            f"`augmented` wants images [N, H, W, channels], but the sampler's inputs are {shapes}. Leave it out, or "
            "give images their axis of channels."
        )
    return jax.tree.leaves(batch.x)[0]
