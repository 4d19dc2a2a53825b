"""Decode images from strangers within bounds. Letters: images have h x w pixels and c channels."""

import io
import warnings
from pathlib import PurePosixPath
from typing import Any

import numpy as np

SUFFIXES = frozenset(".png .jpg .jpeg .jpe .jfif .bmp .gif .webp .ppm .pgm .pbm .tif .tiff".split())  # in lower case
MAX_PIXELS = 1 << 26  # of one image, checked on its header before it is decoded
FLOOR, RATIO = 1 << 28, 1 << 12  # bytes in memory that any data may take, and further ones for each byte in files

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")  # hold pixels only: no EPS, no PDF


def open_image(data: bytes, where: str, max_pixels: int = MAX_PIXELS) -> Any:
    """Decode one image with Pillow; `where` names it in errors.

    Raises:
      ValueError: the bytes are not a whole image, or it has more than `max_pixels` pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:  # whose words are an address in memory
        raise ValueError(f"{where} is not an image that can be read. Replace or remove it.") from error
    except Exception as error:  # Pillow's readers raise a dozen types on damaged files
        raise ValueError(f"{where} is not an image that can be read ({error}). Replace or remove it.") from error
    if image.width * image.height > max_pixels:
        raise ValueError(
            f"{where} has {image.width} x {image.height} pixels, more than the {max_pixels} that are "
            "allowed; it was not decoded. Shrink it, or remove it."
        )
    try:
        image.load()
    except Exception as error:
        raise ValueError(f"{where} is damaged or cut short ({error}). Replace or remove it.") from error
    return image


def read_image(
    data: bytes, where: str, size: tuple[int, int] | None, color: str, background: str = "white"
) -> np.ndarray:
    """Decode one photograph, upright, as uint8 ``[h, w, c]``; ``where`` names it in errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of metadata that it cannot read; the pixels are fine
        image = open_image(data, where)
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"{where} has more than 8 bits per channel (mode {image.mode}). Convert it to 8 bits.")
        try:
            image = _opaque(_upright(image), background).convert("RGB" if color == "rgb" else "L")
        except Exception as error:
            raise ValueError(f"{where} cannot be converted from {image.mode} ({error}). Replace it.") from error
    pixels = np.asarray(image)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels if size is None else resize_array(pixels, size)


def resize_array(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 ``[h, w, 1 | 3]`` to ``[*size, 1 | 3]``, antialiased (Lanczos)."""
    from PIL import Image

    squeezed = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = np.asarray(squeezed.resize((size[1], size[0]), Image.Resampling.LANCZOS))
    return resized.reshape(*size, image.shape[-1])


def check_size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Return ``size`` as ``(height, width)`` in pixels."""
    pair = (size, size) if isinstance(size, int) else size
    if pair is None or (len(pair) == 2 and all(_is_int(s) and 1 <= s <= 4096 for s in pair)):
        return None if pair is None else (pair[0], pair[1])
    raise ValueError(f"`size` must be None, pixels, or (height, width), each from 1 to 4096, got {size!r}.")


def _is_int(value: object) -> bool:
    return isinstance(value, int)


def check_background(background: str) -> None:
    """Check that a colour is one that Pillow knows: a name, or ``#rrggbb``."""
    from PIL import ImageColor

    try:
        ImageColor.getrgb(background)
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"`background` must be a colour such as 'white' or '#rrggbb', got {background!r}.") from error


def check_memory(needed: int, on_disk: int, where: str) -> None:
    """Refuse data that small files blow up in memory.

    Args:
      needed: bytes that the arrays take.
      on_disk: bytes of the files that they are read from.
      where: begins the error.

    Example:
      >>> check_memory(3 << 30, 24_000, "'photos.zip'")
      Traceback (most recent call last):
      ValueError: 'photos.zip' has 24,000 bytes in files and would take 3,221,225,472 in memory, more than ...
    """
    if needed > FLOOR + RATIO * on_disk:
        raise ValueError(
            f"{where} has {on_disk:,} bytes in files and would take {needed:,} in memory, more than the "
            f"{FLOOR + RATIO * on_disk:,} that are allowed for so small files. Pass a smaller `size`, or remove the "
            "largest images."
        )


def is_image(name: str) -> bool:
    """Return whether a file's name is that of an image.

    Example:
      >>> is_image("photos/IMG_1.JPG"), is_image("notes.txt")
      (True, False)
    """
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _upright(image: Any) -> Any:
    """Turn a photograph as its EXIF orientation says; metadata that cannot be read says nothing."""
    from PIL import Image

    turns = Image.Transpose
    how = {2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE}
    how |= {6: turns.ROTATE_270, 7: turns.TRANSVERSE, 8: turns.ROTATE_90}
    try:
        turn = how.get(image.getexif().get(0x0112, 1))
    except Exception:  # Pillow's reader of EXIF raises a dozen types on damaged blocks
        turn = None
    return image if turn is None else image.transpose(turn)


def _opaque(image: Any, background: str) -> Any:
    """Put a transparent image on a background."""
    from PIL import Image

    if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return image
    image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)
