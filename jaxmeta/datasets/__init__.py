"""Read data on the host: from bytes to a `ClassSet`, arrays sorted by class. Nothing here needs a model or a task.

Importing this package downloads nothing and loads neither Pillow nor tensorflow-datasets.
"""

from ._arrays import from_arrays as from_arrays
from ._class_splits import ClassSplit as ClassSplit
from ._folder import from_folder as from_folder
from ._grocery import grocery as grocery
from ._omniglot import omniglot as omniglot
from ._published import published_split as published_split
from ._registry import load as load
from ._tfds import from_tfds as from_tfds

__all__ = [
    "load", "omniglot", "grocery", "published_split", "from_folder", "from_arrays", "from_tfds",
    "ClassSplit",
]  # fmt: skip
