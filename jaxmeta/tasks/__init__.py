"""Samplers: distributions over tasks, as pure functions of a key that run on the device inside jit."""

from ._augmented import augmented as augmented
from ._batches import batches as batches
from ._classes import Classes as Classes
from ._classes import ClassSampler as ClassSampler
from ._classes import classes_of as classes_of
from ._domains import Domains as Domains
from ._domains import domains as domains
from ._episodes import episodes as episodes
from ._glyphs import glyphs as glyphs
from ._layout import Layout as Layout
from ._lines import lines as lines
from ._mixture import mixture as mixture
from ._quadratics import quadratics as quadratics
from ._ratings import ratings as ratings
from ._rotated import rotated as rotated
from ._sinusoid import sinusoid as sinusoid
from ._stream import stream as stream
from ._streamed import streamed as streamed
from ._varied import unequal_shots as unequal_shots
from ._varied import varied_episodes as varied_episodes

__all__ = [
    "episodes", "varied_episodes", "unequal_shots", "batches", "streamed", "domains", "Domains",
    "sinusoid", "lines", "mixture", "quadratics", "glyphs", "rotated",
    "ratings", "augmented", "stream", "ClassSampler", "Classes", "Layout", "classes_of",
]  # fmt: skip
