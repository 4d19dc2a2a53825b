"""The algorithms: one paper, one file, one lower-case factory for a `MetaLearner` (`replay`: an outer step)."""

from ._adversarial import adversarial as adversarial
from ._anil import anil as anil
from ._bagging import bagging as bagging
from ._boil import boil as boil
from ._boosting import boosting as boosting
from ._distill import distill as distill
from ._maml import maml as maml
from ._meta_sgd import meta_sgd as meta_sgd
from ._protonet import protonet as protonet
from ._replay import replay as replay
from ._reptile import reptile as reptile
from ._stacking import stacking as stacking

__all__ = [
    "maml", "anil", "boil", "reptile", "meta_sgd", "protonet",
    "distill", "adversarial", "replay", "bagging", "stacking", "boosting",
]  # fmt: skip
