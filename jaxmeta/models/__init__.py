"""Backbones as pure functions: make a `Model` from a flax.linen module, a flax.nnx module, or two functions.

Parameters and state are plain nested dicts for all of them. `_policy` decides what BatchNorm and dropout do in a
pass; modules are used unchanged. Both flax adapters also replace a module's convolutions by the one that stays fast
when every task has its own kernel (`ops`).
"""

from ._feature_wise import feature_wise as feature_wise
from ._functions import from_functions as from_functions
from ._functions import identity as identity
from ._linen import from_linen as from_linen
from ._lora import lora as lora
from ._lora import merge_lora as merge_lora
from ._nnx import from_nnx as from_nnx
from ._policy import Norm as Norm
from ._policy import inductive as inductive

__all__ = ["from_linen", "from_nnx", "from_functions", "identity", "inductive", "lora", "merge_lora", "feature_wise"]
