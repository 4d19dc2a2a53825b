"""The networks of the papers as flax modules: linen under the plain name, nnx under ``Nnx...``.

Parameter names agree between the two, and the last layer is called ``head``.
"""

from ._conv4 import Conv4 as Conv4
from ._conv4 import NnxConv4 as NnxConv4
from ._initializers import initializer as initializer
from ._mlp import MLP as MLP
from ._mlp import NnxMLP as NnxMLP

__all__ = ["MLP", "NnxMLP", "Conv4", "NnxConv4", "initializer"]
