"""Suggestions for mistyped names."""

from .._suggest import near as near
