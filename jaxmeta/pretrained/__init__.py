"""Published weights into flax modules: read as data, without another framework, and never from a pickle.

The weights are yours: nothing here downloads. It needs ``pip install 'jaxmeta[text]'``.
"""

from ._bert import BertEncoder as BertEncoder
from ._bert import Pretrained as Pretrained
from ._bert import bert as bert

__all__ = ["bert", "BertEncoder", "Pretrained"]
