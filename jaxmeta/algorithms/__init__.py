"""The algorithms: one paper, one file, one lower-case factory for a `MetaLearner` (`replay`: an outer step)."""

from ._adversarial import adversarial as adversarial
from ._alfa import alfa as alfa
from ._alpaca import alpaca as alpaca
from ._anil import anil as anil
from ._bagging import bagging as bagging
from ._baseline import baseline as baseline
from ._baseline_plus_plus import baseline_plus_plus as baseline_plus_plus
from ._boil import boil as boil
from ._boosting import boosting as boosting
from ._bootstrapped import bootstrapped as bootstrapped
from ._cavia import cavia as cavia
from ._conv_process import conv_process as conv_process
from ._distill import distill as distill
from ._dkt import dkt as dkt
from ._factorisation import factorisation as factorisation
from ._feat import feat as feat
from ._imaml import imaml as imaml
from ._learned_loss import learned_loss as learned_loss
from ._learned_optimizer import learned_optimizer as learned_optimizer
from ._leo import leo as leo
from ._lrd2 import lrd2 as lrd2
from ._lstm import lstm as lstm
from ._maml import maml as maml
from ._maml_plus_plus import maml_plus_plus as maml_plus_plus
from ._mann import mann as mann
from ._matching import matching as matching
from ._melu import melu as melu
from ._meta_curvature import meta_curvature as meta_curvature
from ._meta_sgd import meta_sgd as meta_sgd
from ._metaoptnet import metaoptnet as metaoptnet
from ._neural_process import neural_process as neural_process
from ._proto_maml import proto_maml as proto_maml
from ._protonet import protonet as protonet
from ._pt_map import pt_map as pt_map
from ._r2d2 import r2d2 as r2d2
from ._relation import relation as relation
from ._replay import replay as replay
from ._reptile import reptile as reptile
from ._rfs import rfs as rfs
from ._simpleshot import centre_features as centre_features
from ._simpleshot import simpleshot as simpleshot
from ._snail import snail as snail
from ._soft_kmeans import soft_kmeans as soft_kmeans
from ._stacking import stacking as stacking
from ._t_net import t_net as t_net
from ._tadam import tadam as tadam
from ._tim import tim as tim
from ._transformer_process import transformer_process as transformer_process
from ._warpgrad import warpgrad as warpgrad

__all__ = [
    "maml", "anil", "boil", "maml_plus_plus", "reptile", "meta_sgd", "imaml",
    "cavia", "meta_curvature", "t_net", "warpgrad", "alfa", "proto_maml", "bootstrapped", "learned_loss", "leo",
    "melu", "factorisation",
    "protonet", "soft_kmeans", "matching", "relation", "simpleshot", "feat", "tadam", "tim", "pt_map",
    "r2d2", "lrd2", "metaoptnet", "dkt", "alpaca",
    "baseline", "baseline_plus_plus", "rfs",
    "lstm", "mann", "snail", "neural_process", "transformer_process", "conv_process", "learned_optimizer",
    "distill", "adversarial", "replay", "bagging", "stacking", "boosting",
]  # fmt: skip
