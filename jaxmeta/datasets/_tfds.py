"""Read any classification set of tensorflow-datasets as a class set, without TensorFlow.

Letters: M examples; images have h x w pixels and c channels.
"""

import difflib
import os
from typing import Any

import numpy as np

from jaxmeta.types import ClassSet

from ._arrays import from_arrays
from ._images import check_size, resize_array


def from_tfds(
    name: Any,
    split: str = "train",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_key: str = "image",
    label_key: str = "label",
    size: int | tuple[int, int] | None = None,
    download: bool = False,
) -> ClassSet:
    """Read a split of a TFDS data set as a `ClassSet`, through ``tfds.data_source`` (array_record files).

    Reading never imports TensorFlow. Preparing (`download`) does not either, unless the builder itself does.
    1-bit images, which TFDS decodes to 0 and 1 or to 0 and 255 depending on what is installed, become 0 and
    255.

    Args:
      name: a data set such as ``"cifar100"`` or ``"mnist:3.0.1"``, prepared or known to TFDS; or your own
        ``tfds.core.DatasetBuilder``, as a class or as an instance.
      split: TFDS's notation: ``"train"``, ``"train+test"``, ``"train[:80%]"`` ...
      data_dir: where prepared data sets are; by default TFDS's own folder. Not used with an instance.
      image_key: the feature that becomes `x`, of any kind that decodes to an array.
      label_key: the feature with the class: a label, an integer or a string.
      size: pixels, one number or ``(height, width)``: uint8 images are resized to it, antialiased, without
        keeping their aspect. By default they must all have one shape.
      download: download and prepare the data set first if it is not there.

    Returns:
      A `ClassSet`: for images, `x` is uint8 ``[M, h, w, c]``; classes that do not occur in the split are left
      out.

    Raises:
      ValueError: if the data set is unknown, not prepared, or not in array_record format; if it has no such split
        or feature; if shapes differ and `size` is None.

    Example:
      >>> from jaxmeta import datasets
      >>> data = datasets.from_tfds("cifar100", "train+test", download=True)  # doctest: +SKIP
      >>> data.x.shape, data.names[:3]  # doctest: +SKIP
      ((60000, 32, 32, 3), ('apple', 'aquarium_fish', 'baby'))
    """
    pair = check_size(size)
    builder = _builder(name, data_dir)
    if download:
        prepare(builder)
    features = _check_features(builder, {"image_key": image_key, "label_key": label_key})
    source = _source(builder, split)
    if not len(source):
        raise ValueError(f"`split` {split!r} of {builder.info.full_name!r} is empty: nothing to draw from.")
    rows = ((row[image_key], row[label_key]) for row in (source[i] for i in range(len(source))))
    images, labels = zip(*rows, strict=True)
    x = _stack([np.asarray(image) for image in images], features[image_key], pair)
    return from_arrays(x, np.asarray(labels), names=getattr(features[label_key], "names", None))


def prepare(name: Any, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Download and prepare a data set, if it is not there, and return its folder; arguments as for `from_tfds`."""
    builder = _builder(name, data_dir)
    builder.download_and_prepare(file_format="array_record")
    return str(builder.data_path)


def _builder(name: Any, data_dir: str | os.PathLike[str] | None) -> Any:
    import tensorflow_datasets as tfds

    if isinstance(name, tfds.core.DatasetBuilder):
        return name
    where = None if data_dir is None else os.fspath(data_dir)
    make: Any = name
    if isinstance(name, type) and issubclass(name, tfds.core.DatasetBuilder):
        return make(data_dir=where, file_format="array_record")
    if not isinstance(name, str):
        raise ValueError(f"`name` must be a data set's name, a DatasetBuilder class or an instance, got {name!r}.")
    try:
        return tfds.builder(name, data_dir=where, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        close = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False), n=2)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else "."
        raise ValueError(
            f"`name` is {name!r}, which is neither prepared in {where or 'the default folder of TFDS'} nor "
            f"known to TFDS{hint} Check the spelling or `data_dir`, or pass your DatasetBuilder class."
        ) from error


def _check_features(builder: Any, keys: dict[str, str]) -> Any:
    features = builder.info.features
    for argument, key in keys.items():
        if key not in features:
            raise ValueError(
                f"`{argument}` is {key!r}, but {builder.info.full_name!r} has the features "
                f"{', '.join(sorted(features))}. Pass one of them as `{argument}`."
            )
    return features


def _source(builder: Any, split: str) -> Any:
    """Return the split's rows, by index."""
    name = builder.info.full_name
    if not builder.is_prepared():
        raise ValueError(
            f"`name`: {name!r} is not prepared in {str(builder.data_path)!r}. Pass `download=True`, or "
            "`data_dir` if it is elsewhere."
        )
    try:
        return builder.as_data_source(split)
    except NotImplementedError as error:
        raise ValueError(
            f"`name`: {name!r} in {str(builder.data_path)!r} is not in array_record format, the one that "
            "can be read by index. Prepare it again with `download_and_prepare(file_format='array_record')`."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"`split` is {split!r}, but {name!r} has the splits {', '.join(sorted(builder.info.splits))} ({error})."
        ) from error


def _stack(images: list[np.ndarray], feature: Any, size: tuple[int, int] | None) -> np.ndarray:
    """Stack images to ``[M, ...]``, scaled to 0 .. 255 and to one size."""
    is_image = type(feature).__name__ == "Image" and images[0].dtype == np.uint8
    if is_image and max(int(image.max(initial=0)) for image in images) == 1:
        images = [image * np.uint8(255) for image in images]
    if size is not None:
        images = [_resize(image, size) for image in images]
    for image in images:
        if image.shape != images[0].shape:
            raise ValueError(
                f"`size` is None, but the images differ in shape: {images[0].shape} and {image.shape}. "
                "Pass `size`, for example size=84."
            )
    return np.stack(images)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"`size` is for uint8 images [h, w, 1 or 3]; `image_key` holds {image.dtype} of shape "
            f"{image.shape}. Leave `size` out, and resize the arrays yourself."
        )
    return resize_array(image, size)
