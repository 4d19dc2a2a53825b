"""Runs: an experiment trained into a folder, measured, drawn and reported. Nothing here prints or exits.

Everything in a run folder is data, never code.
"""

from ._compute import Compute as Compute
from ._compute import Placement as Placement
from ._config import Config as Config
from ._config import read_config as read_config
from ._config import write_config as write_config
from ._end import Result as Result
from ._events import Drawing as Drawing
from ._events import Event as Event
from ._events import Measured as Measured
from ._events import Measuring as Measuring
from ._events import Phase as Phase
from ._events import Starting as Starting
from ._events import Stopping as Stopping
from ._events import Wrote as Wrote
from ._measure import Measurement as Measurement
from ._measure import measure as measure
from ._owner import InUse as InUse
from ._processes import ProcessLost as ProcessLost
from ._train import resume as resume
from ._train import train as train
from ._trained import Trained as Trained
from ._trained import build as build
from ._trained import load as load
from ._trained import recipe_of as recipe_of

__all__ = [
    "train", "resume", "load", "measure", "Result", "Measurement", "Compute", "Placement",
    "Event", "Starting", "Phase", "Measuring", "Measured", "Drawing", "Wrote", "Stopping", "InUse", "ProcessLost",
    "Trained", "build", "recipe_of", "Config", "read_config", "write_config",
]  # fmt: skip
