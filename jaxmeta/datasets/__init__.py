"""Read data on the host: from bytes to a `ClassSet`, arrays sorted by class. Nothing here needs a model or a task.

Importing this package downloads nothing and loads neither Pillow nor tensorflow-datasets.
"""

from ._arrays import from_arrays as from_arrays
from ._class_splits import ClassSplit as ClassSplit
from ._features import features as features
from ._folder import from_folder as from_folder
from ._grocery import grocery as grocery
from ._intents import banking77 as banking77
from ._intents import clinc150 as clinc150
from ._invented_ratings import World as World
from ._invented_ratings import invented_ratings as invented_ratings
from ._omniglot import omniglot as omniglot
from ._published import published_split as published_split
from ._ratings import ColdStart as ColdStart
from ._ratings import Ratings as Ratings
from ._ratings import cold_start as cold_start
from ._ratings import ratings as ratings
from ._registry import load as load
from ._texts import Labelled as Labelled
from ._texts import read_texts as read_texts
from ._texts import texts as texts
from ._tfds import from_tfds as from_tfds
from ._tokens import read_tokenizer as read_tokenizer
from ._tokens import train_tokenizer as train_tokenizer

__all__ = [
    "load", "omniglot", "grocery", "published_split", "from_folder", "from_arrays", "from_tfds",
    "texts", "read_texts", "Labelled", "clinc150", "banking77", "train_tokenizer", "read_tokenizer", "features",
    "ClassSplit",
    "ratings", "Ratings", "cold_start", "ColdStart", "invented_ratings", "World",
]  # fmt: skip
