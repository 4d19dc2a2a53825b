"""The algorithms: one paper, one file, one lower-case factory that returns a `MetaLearner`."""

from ._anil import anil as anil
from ._boil import boil as boil
from ._imaml import imaml as imaml
from ._lrd2 import lrd2 as lrd2
from ._maml import maml as maml
from ._matching import matching as matching
from ._meta_sgd import meta_sgd as meta_sgd
from ._metaoptnet import metaoptnet as metaoptnet
from ._protonet import protonet as protonet
from ._r2d2 import r2d2 as r2d2
from ._relation import relation as relation
from ._reptile import reptile as reptile
from ._simpleshot import centre_features as centre_features
from ._simpleshot import simpleshot as simpleshot
from ._soft_kmeans import soft_kmeans as soft_kmeans

__all__ = [
    "maml", "anil", "boil", "reptile", "meta_sgd", "imaml",
    "protonet", "soft_kmeans", "matching", "relation", "simpleshot",
    "r2d2", "lrd2", "metaoptnet",
]  # fmt: skip
