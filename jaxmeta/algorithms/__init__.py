"""The algorithms: one paper, one file, one lower-case factory that returns a `MetaLearner`."""

from ._anil import anil as anil
from ._boil import boil as boil
from ._maml import maml as maml
from ._matching import matching as matching
from ._meta_sgd import meta_sgd as meta_sgd
from ._protonet import protonet as protonet
from ._relation import relation as relation
from ._reptile import reptile as reptile
from ._simpleshot import centre_features as centre_features
from ._simpleshot import simpleshot as simpleshot
from ._soft_kmeans import soft_kmeans as soft_kmeans

__all__ = [
    "maml", "anil", "boil", "reptile", "meta_sgd",
    "protonet", "soft_kmeans", "matching", "relation", "simpleshot",
]  # fmt: skip
