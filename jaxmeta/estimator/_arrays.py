"""Examples on their way to a learner, and what is refused because its answer would be wrong without a sign of it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LARGEST = 16  # of a float pixel, even where mean and deviation are taken off: what is larger was meant as a byte


def as_inputs(x: Any) -> Any:
    """Examples as the learner was trained on them: bytes are pixels, scaled to [0, 1]; numbers become floats.

    Example:
      >>> as_inputs(np.array([0, 255], np.uint8)).tolist(), as_inputs(np.array([7])).dtype
      ([0.0, 1.0], dtype('float32'))
    """
    xp = jnp if isinstance(x, jax.Array) else np
    return xp.asarray(x, jnp.float32) / (255 if x.dtype == np.uint8 else 1)


def joined(known: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Further examples behind those that are known; bytes beside floats are scaled before they become floats.

    Example:
      >>> joined(np.array([255], np.uint8), np.array([0.5])).tolist()
      [1.0, 0.5]
    """
    if (known.dtype == np.uint8) != (new.dtype == np.uint8):
        known, new = as_inputs(known), as_inputs(new)
    return np.concatenate([known, new])


def check_units(known: np.ndarray, new: np.ndarray) -> None:
    """Bytes are scaled to [0, 1] and numbers are not: beside bytes, numbers must be floats in [0, 1]."""
    if (known.dtype == np.uint8) == (new.dtype == np.uint8):
        return
    numbers = new if known.dtype == np.uint8 else known
    if numbers.dtype.kind != "f" or numbers.min() < 0 or numbers.max() > 1:
        raise ValueError(
            f"`X` is {new.dtype} and the support set is {known.dtype}; what is not bytes goes from {numbers.min()} to "
            f"{numbers.max()}. Bytes (uint8) are scaled from 0..255 to [0, 1] and other numbers are not. Pass both as "
            "bytes, or both as floats."
        )


def check_range(name: str, array: np.ndarray) -> None:
    """Numbers that float32 cannot hold would become infinite."""
    most = np.finfo(np.float32).max
    if array.dtype.kind == "f" and array.dtype.itemsize > 4 and max(array.max(), -array.min()) > most:
        raise ValueError(f"`{name}` has values beyond {most:.3g}, which float32 cannot hold. Scale it.")


def check_finite(values: Any) -> None:
    """A diverged adaptation must not look like an answer: the largest of NaNs would be the first class."""
    flat = np.asarray(values).reshape(len(values), -1)
    bad = ~np.isfinite(flat).all(1)
    if bad.any():
        raise ValueError(
            f"the learner's outputs are not finite for {bad.sum()} of {len(flat)} examples: its adaptation diverged. "
            "Scale `X` as in training, or adapt by fewer or smaller steps."
        )


def check_pixels(X: np.ndarray, shape: tuple[int, ...] | None) -> None:
    """Where examples of training were images, pixels that are not bytes go from 0 to 1."""
    if X.dtype != np.uint8 and is_image(shape) and np.max(X, initial=0) > LARGEST:
        raise ValueError(
            f"`X` has {X.dtype} pixels of up to {np.max(X):g}, but this learner takes them from 0 to 1. Pass "
            "uint8, which is scaled, or divide by 255."
        )


def advice(X: np.ndarray, expected: tuple[int, ...]) -> str:
    """What to do where examples have another shape than in training."""
    if X.shape == expected:
        return "One example is `X[None]`."
    if not is_image(expected):
        return "Convert them first."
    size = expected[0] if expected[0] == expected[1] else expected[:2]
    color = "" if expected[-1] == 3 else ', color="gray"'
    return f"`jaxmeta.datasets.from_folder(path, size={size}{color}).x` are images as it takes them."


def is_image(shape: tuple[int, ...] | None) -> bool:
    """Whether an example of this shape is an image, grey or RGB.

    Example:
      >>> is_image((84, 84, 3)), is_image((84,)), is_image(None)
      (True, False, False)
    """
    return shape is not None and len(shape) == 3 and shape[-1] in (1, 3)


def padded(array: np.ndarray) -> np.ndarray:
    """Zeros appended up to the next power of two.

    Example:
      >>> padded(np.ones(3)).tolist()
      [1.0, 1.0, 1.0, 0.0]
    """
    size = 1 << max(len(array) - 1, 0).bit_length()
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
