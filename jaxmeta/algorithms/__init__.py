"""The algorithms: one paper, one file, one lower-case factory that returns a `MetaLearner`."""

from ._anil import anil as anil
from ._boil import boil as boil
from ._maml import maml as maml
from ._meta_sgd import meta_sgd as meta_sgd
from ._protonet import protonet as protonet
from ._reptile import reptile as reptile

__all__ = ["maml", "anil", "boil", "reptile", "meta_sgd", "protonet"]
