"""Predict the memory, arithmetic and communication of a meta-step on devices that are not there."""

from ._collectives import Collective as Collective
from ._plan import Memory as Memory
from ._plan import Plan as Plan
from ._plan import plan as plan
from ._topology import topology as topology

__all__ = ["plan", "Plan", "Memory", "Collective", "topology"]
