"""Kept for files that import it from here: see `jaxmeta.arguments`."""

from ..arguments import arguments_of as arguments_of
from ..arguments import build as build
from ..arguments import check as check
from ..arguments import complaint as complaint
from ..arguments import defaults as defaults
from ..arguments import flat as flat
from ..arguments import grouped as grouped
