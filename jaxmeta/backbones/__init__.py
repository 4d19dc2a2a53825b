"""The networks of the papers as flax modules: linen under the plain name, nnx under ``Nnx...``.

Parameter names agree between the two, and the last layer is called ``head``.
"""

from ._conv4 import Conv4 as Conv4
from ._conv4 import NnxConv4 as NnxConv4
from ._initializers import initializer as initializer
from ._interactions import Interactions as Interactions
from ._mlp import MLP as MLP
from ._mlp import NnxMLP as NnxMLP
from ._nnx_resnet import NnxResNet12 as NnxResNet12
from ._nnx_resnet import NnxResNet18 as NnxResNet18
from ._nnx_text import NnxBagOfEmbeddings as NnxBagOfEmbeddings
from ._nnx_text import NnxBiGRU as NnxBiGRU
from ._nnx_text import NnxTransformerEncoder as NnxTransformerEncoder
from ._resnet import ResNet12 as ResNet12
from ._resnet import ResNet18 as ResNet18
from ._task_norm import TaskNorm as TaskNorm
from ._text import BagOfEmbeddings as BagOfEmbeddings
from ._text import BiGRU as BiGRU
from ._text import TransformerEncoder as TransformerEncoder

__all__ = [
    "MLP", "NnxMLP", "Conv4", "NnxConv4", "ResNet12", "NnxResNet12", "ResNet18", "NnxResNet18",
    "BagOfEmbeddings", "NnxBagOfEmbeddings", "BiGRU", "NnxBiGRU", "TransformerEncoder", "NnxTransformerEncoder",
    "Interactions", "TaskNorm", "initializer",
]  # fmt: skip
