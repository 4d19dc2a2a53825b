"""Run folders: what a run was asked to do, and what it has learned. Everything in one is data, never code."""

from ._config import Config as Config
from ._config import read_config as read_config
from ._config import write_config as write_config
from ._trained import Trained as Trained
from ._trained import build as build
from ._trained import load as load

__all__ = ["load", "Trained", "build", "Config", "read_config", "write_config"]
