"""Saving and restoring, through orbax: arrays and JSON, never pickle.

`save` and `restore` are for what was learned; `keep` makes a callback of `fit` that saves the whole state of training,
in the background, so that a run that was killed goes on where it was.
"""

from ._params import restore, save
from ._training import Keeper, keep

__all__ = ["save", "restore", "keep", "Keeper"]
