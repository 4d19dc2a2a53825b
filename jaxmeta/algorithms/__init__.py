"""The algorithms: one paper, one file, one lower-case factory that returns a `MetaLearner`."""

from ._anil import anil as anil
from ._boil import boil as boil
from ._learned_optimizer import learned_optimizer as learned_optimizer
from ._lstm import lstm as lstm
from ._maml import maml as maml
from ._mann import mann as mann
from ._meta_sgd import meta_sgd as meta_sgd
from ._neural_process import neural_process as neural_process
from ._protonet import protonet as protonet
from ._reptile import reptile as reptile
from ._snail import snail as snail

__all__ = [
    "maml", "anil", "boil", "reptile", "meta_sgd", "protonet",
    "lstm", "mann", "snail", "neural_process", "learned_optimizer",
]  # fmt: skip
