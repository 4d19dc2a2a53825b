"""The algorithms: one paper, one file, one lower-case factory that returns a `MetaLearner`."""

from ._anil import anil as anil
from ._baseline import baseline as baseline
from ._baseline_plus_plus import baseline_plus_plus as baseline_plus_plus
from ._boil import boil as boil
from ._maml import maml as maml
from ._maml_plus_plus import maml_plus_plus as maml_plus_plus
from ._meta_sgd import meta_sgd as meta_sgd
from ._protonet import protonet as protonet
from ._reptile import reptile as reptile
from ._rfs import rfs as rfs

__all__ = [
    "maml", "anil", "boil", "maml_plus_plus", "reptile", "meta_sgd",
    "protonet",
    "baseline", "baseline_plus_plus", "rfs",
]  # fmt: skip
