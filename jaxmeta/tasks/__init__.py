"""Samplers: distributions over tasks, pure functions of a key that run inside jit and on the device."""

from ._augmented import augmented as augmented
from ._batches import batches as batches
from ._episodes import episodes as episodes
from ._glyphs import glyphs as glyphs
from ._lines import lines as lines
from ._mixture import mixture as mixture
from ._quadratics import quadratics as quadratics
from ._rotated import rotated as rotated
from ._sinusoid import sinusoid as sinusoid
from ._stream import stream as stream
from ._streamed import streamed as streamed

__all__ = [
    "episodes", "batches", "streamed", "sinusoid", "lines", "mixture", "quadratics", "glyphs", "rotated",
    "augmented", "stream",
]  # fmt: skip
