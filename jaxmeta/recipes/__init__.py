"""Published experiments by name: typed functions whose keyword arguments are the flags of ``jaxmeta train``.

Each returns an `Experiment`; a new one is a file with such a function and a line in `RECIPES`. A row of a paper's
table, ``omniglot_maml_20w1s``, is the paper's function with that row's defaults, by its own name; `TABLES` has the rows
with the paper's figures.
"""

from collections.abc import Callable

from ._characters import characters as characters
from ._curves import curves as curves
from ._experiment import Experiment as Experiment
from ._experiment import nearest_neighbour as nearest_neighbour
from ._glyphs_maml import glyphs_maml as glyphs_maml
from ._omniglot_maml import omniglot_maml as omniglot_maml
from ._omniglot_protonet import omniglot_protonet as omniglot_protonet
from ._published import Figure as Figure
from ._quadratics import quadratics as quadratics
from ._sinusoid_maml import sinusoid_maml as sinusoid_maml
from ._tables import OMNIGLOT_ROWS, TABLES
from ._tables import Row as Row

RECIPES: dict[str, Callable[..., Experiment]] = {
    "glyphs_maml": glyphs_maml,
    "characters": characters,
    "curves": curves,
    "quadratics": quadratics,
    "sinusoid_maml": sinusoid_maml,
    "omniglot_maml": omniglot_maml,
    "omniglot_protonet": omniglot_protonet,
    **OMNIGLOT_ROWS,
}

__all__ = [
    "RECIPES", "TABLES", "Experiment", "Figure", "Row", "nearest_neighbour",
    "glyphs_maml", "characters", "curves", "quadratics", "sinusoid_maml",
    "omniglot_maml", "omniglot_protonet",
]  # fmt: skip


def __getattr__(name: str) -> Callable[..., Experiment]:
    """Rows of tables are recipes too, by their names."""
    if name in OMNIGLOT_ROWS:
        return OMNIGLOT_ROWS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
