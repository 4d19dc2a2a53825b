"""Convert examples to a learner's inputs: units, dtypes and padding; refuse what would silently give wrong answers."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LARGEST = 16  # of a float pixel, even if mean and deviation are subtracted: a larger one was meant as a byte


class Inputs(NamedTuple):
    """The conversion of examples to the learner's inputs.

    Attributes:
      dtype: ``"float32"``, or an integer type, for token ids and the like.
      scales: whether bytes are pixels, which are scaled to [0, 1].
      strict: whether numbers that are not whole are refused where the dtype is an integer; else they become float32.

    Example:
      >>> Inputs("float32", True)(np.array([0, 255], np.uint8)).tolist()
      [0.0, 1.0]
      >>> Inputs("int32", False)(np.array([7.0])).dtype
      dtype('int32')
    """

    dtype: str
    scales: bool
    strict: bool = False

    def __call__(self, x: Any) -> Any:
        """Convert examples ``[N, ...]``."""
        xp: Any = jnp if isinstance(x, jax.Array) else np
        if self.scales and x.dtype == np.uint8:
            return xp.asarray(x, self.dtype) / xp.float32(255)
        if self.dtype == "float32" or x.dtype.kind != "f" or xp is jnp:
            return xp.asarray(x, self.dtype)
        if (x == np.round(x)).all():
            return x.astype(self.dtype)
        if self.strict:
            raise ValueError(f"`X` is {x.dtype} with fractions, but this learner takes whole numbers ({self.dtype}).")
        return x.astype(np.float32)


def inputs_for(X: np.ndarray, like: Any, *, numbers: bool) -> Inputs:
    """Choose the conversion for a support set.

    Args:
      X: the examples ``[N, ...]``.
      like: shape and dtype of the inputs in training, if they are known.
      numbers: whether the learner computes on the inputs themselves, so that integers are numbers and no ids.

    Example:
      >>> inputs_for(np.zeros((2, 5), np.int64), None, numbers=False)
      Inputs(dtype='int32', scales=False, strict=False)
      >>> inputs_for(np.zeros((2, 8, 8, 1), np.uint8), None, numbers=False)
      Inputs(dtype='float32', scales=True, strict=False)
    """
    if like is not None:
        if jnp.issubdtype(like.dtype, jnp.integer):
            return Inputs(str(like.dtype), False, strict=True)
        return Inputs("float32", True)  # tasks scale all bytes
    pixels = is_image(X.shape[1:])
    whole = X.dtype.kind in "iu" and not numbers and not (pixels and X.dtype == np.uint8)
    return Inputs("int32" if whole else "float32", pixels)


def joined(known: np.ndarray, new: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Append further examples to known ones; bytes beside floats are scaled before they become floats.

    Example:
      >>> joined(np.array([255], np.uint8), np.array([0.5]), Inputs("float32", True)).tolist()
      [1.0, 0.5]
    """
    if (known.dtype == np.uint8) != (new.dtype == np.uint8):
        known, new = inputs(known), inputs(new)
    return np.concatenate([known, new])


def check_units(known: np.ndarray, new: np.ndarray, inputs: Inputs) -> None:
    """Check that numbers beside bytes are floats in [0, 1], where bytes are scaled."""
    if not inputs.scales or (known.dtype == np.uint8) == (new.dtype == np.uint8):
        return
    numbers = new if known.dtype == np.uint8 else known
    if numbers.dtype.kind != "f" or numbers.min() < 0 or numbers.max() > 1:
        raise ValueError(
            f"`X` is {new.dtype} and the support set is {known.dtype}; what is not bytes goes from {numbers.min()} to "
            f"{numbers.max()}. Bytes (uint8) are scaled from 0..255 to [0, 1] and other numbers are not. Pass both as "
            "bytes, or both as floats."
        )


def check_range(name: str, array: np.ndarray) -> None:
    """Refuse numbers that float32 or int32 cannot hold: they would become infinite, or wrap."""
    if not array.size:
        return
    if array.dtype.kind == "f" and array.dtype.itemsize > 4:
        most, kind = float(np.finfo(np.float32).max), "float32"
    elif array.dtype.kind in "iu" and array.dtype.itemsize >= 4:
        most, kind = float(np.iinfo(np.int32).max), "int32"
    else:
        return
    if max(float(array.max()), -float(array.min())) > most:
        raise ValueError(f"`{name}` has values beyond {most:.3g}, which {kind} cannot hold. Scale it.")


def check_finite(values: Any) -> None:
    """Refuse to answer after a diverged adaptation: the largest of NaNs would be the first class."""
    flat = np.asarray(values).reshape(len(values), -1)
    bad = ~np.isfinite(flat).all(1)
    if bad.any():
        raise ValueError(
            f"the learner's outputs are not finite for {bad.sum()} of {len(flat)} examples: its adaptation diverged. "
            "Scale `X` as in training, or adapt by fewer or smaller steps."
        )


def check_pixels(X: np.ndarray, shape: tuple[int, ...] | None) -> None:
    """Check that pixels that are not bytes go from 0 to 1, if the examples of training were images."""
    if X.dtype != np.uint8 and is_image(shape) and np.max(X, initial=0) > LARGEST:
        raise ValueError(
            f"`X` has {X.dtype} pixels of up to {np.max(X):g}, but this learner takes them from 0 to 1. Pass "
            "uint8, which is scaled, or divide by 255."
        )


def advice(X: np.ndarray, expected: tuple[int, ...]) -> str:
    """Say what to do with examples of another shape than in training."""
    if X.shape == expected:
        return "One example is `X[None]`."
    if not is_image(expected):
        return "Convert them first."
    size = expected[0] if expected[0] == expected[1] else expected[:2]
    color = "" if expected[-1] == 3 else ', color="gray"'
    return f"`jaxmeta.datasets.from_folder(path, size={size}{color}).x` are images as it takes them."


def is_image(shape: tuple[int, ...] | None) -> bool:
    """Return whether an example of this shape is an image, grey or RGB.

    Example:
      >>> is_image((84, 84, 3)), is_image((84,)), is_image(None)
      (True, False, False)
    """
    return shape is not None and len(shape) == 3 and shape[-1] in (1, 3)


def padded(array: np.ndarray) -> np.ndarray:
    """Append zeros up to the next power of two.

    Example:
      >>> padded(np.ones(3)).tolist()
      [1.0, 1.0, 1.0, 0.0]
    """
    size = 1 << max(len(array) - 1, 0).bit_length()
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
