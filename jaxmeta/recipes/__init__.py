"""Published experiments by name: typed functions whose keyword arguments are the flags of ``jaxmeta train``.

Each returns an `Experiment`; a new one is a file with such a function and a line in `RECIPES`. A row of a paper's
table, ``omniglot_maml_20w1s``, is the paper's function with that row's defaults, by its own name; `TABLES` has the rows
with the paper's figures.
"""

from collections.abc import Callable

from ..experiment import Experiment as Experiment
from ..experiment import by_split as by_split
from ..experiment import by_steps as by_steps
from ..experiment import nearest_neighbour as nearest_neighbour
from ._characters import characters as characters
from ._curves import curves as curves
from ._glyphs_maml import glyphs_maml as glyphs_maml
from ._omniglot_anil import omniglot_anil as omniglot_anil
from ._omniglot_imaml import omniglot_imaml as omniglot_imaml
from ._omniglot_maml import omniglot_maml as omniglot_maml
from ._omniglot_maml_plus_plus import omniglot_maml_plus_plus as omniglot_maml_plus_plus
from ._omniglot_matching import omniglot_matching as omniglot_matching
from ._omniglot_meta_sgd import omniglot_meta_sgd as omniglot_meta_sgd
from ._omniglot_protonet import omniglot_protonet as omniglot_protonet
from ._omniglot_r2d2 import omniglot_r2d2 as omniglot_r2d2
from ._omniglot_relation import omniglot_relation as omniglot_relation
from ._omniglot_reptile import omniglot_reptile as omniglot_reptile
from ._photographs import photographs as photographs
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
    "photographs": photographs,
    "omniglot_maml": omniglot_maml,
    "omniglot_reptile": omniglot_reptile,
    "omniglot_protonet": omniglot_protonet,
    "omniglot_matching": omniglot_matching,
    "omniglot_relation": omniglot_relation,
    "omniglot_meta_sgd": omniglot_meta_sgd,
    "omniglot_maml_plus_plus": omniglot_maml_plus_plus,
    "omniglot_anil": omniglot_anil,
    "omniglot_imaml": omniglot_imaml,
    "omniglot_r2d2": omniglot_r2d2,
    **OMNIGLOT_ROWS,
}

__all__ = [
    "RECIPES", "TABLES", "Figure", "Row",
    "glyphs_maml", "characters", "photographs", "curves", "quadratics", "sinusoid_maml",
    "omniglot_maml", "omniglot_reptile", "omniglot_protonet", "omniglot_matching", "omniglot_relation",
    "omniglot_meta_sgd", "omniglot_maml_plus_plus", "omniglot_anil", "omniglot_imaml", "omniglot_r2d2",
]  # fmt: skip


def __getattr__(name: str) -> Callable[..., Experiment]:
    """Rows of tables are recipes too, by their names."""
    if name in OMNIGLOT_ROWS:
        return OMNIGLOT_ROWS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
