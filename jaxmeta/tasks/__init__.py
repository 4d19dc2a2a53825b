"""Samplers: distributions over tasks, pure functions of a key that run inside jit and on the device."""

from ._episodes import episodes as episodes
from ._glyphs import glyphs as glyphs
from ._quadratics import quadratics as quadratics
from ._sinusoid import sinusoid as sinusoid

__all__ = ["episodes", "sinusoid", "quadratics", "glyphs"]
