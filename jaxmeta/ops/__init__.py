"""Operations that stay fast when every task has its own weights."""

from jaxmeta.ops._pool import max_pool as max_pool
from jaxmeta.ops._task_conv import conv_general_dilated as conv_general_dilated
from jaxmeta.ops._task_conv import set_lowering as set_lowering

__all__ = ["conv_general_dilated", "max_pool", "set_lowering"]
