"""Operations that stay fast when every task has its own weights."""

from jaxmeta.ops._task_conv import conv_general_dilated as conv_general_dilated
from jaxmeta.ops._task_conv import set_lowering as set_lowering

__all__ = ["conv_general_dilated", "set_lowering"]
