"""Published experiments by name: typed functions whose keyword arguments are the flags of ``jaxmeta train``.

Each returns an `Experiment`; a new one is a file with such a function and a line in `RECIPES`.
"""

from collections.abc import Callable

from ._characters import characters as characters
from ._curves import curves as curves
from ._experiment import Experiment as Experiment
from ._experiment import by_split as by_split
from ._experiment import by_steps as by_steps
from ._experiment import nearest_neighbour as nearest_neighbour
from ._glyphs_maml import glyphs_maml as glyphs_maml
from ._omniglot_maml_5w1s import omniglot_maml_5w1s as omniglot_maml_5w1s
from ._omniglot_protonet_5w1s import omniglot_protonet_5w1s as omniglot_protonet_5w1s
from ._photographs import photographs as photographs
from ._quadratics import quadratics as quadratics
from ._sinusoid_maml import sinusoid_maml as sinusoid_maml

RECIPES: dict[str, Callable[..., Experiment]] = {
    "glyphs_maml": glyphs_maml,
    "characters": characters,
    "curves": curves,
    "quadratics": quadratics,
    "sinusoid_maml": sinusoid_maml,
    "omniglot_maml_5w1s": omniglot_maml_5w1s,
    "omniglot_protonet_5w1s": omniglot_protonet_5w1s,
    "photographs": photographs,
}

__all__ = [
    "RECIPES", "Experiment", "by_split", "by_steps", "nearest_neighbour",
    "glyphs_maml", "characters", "curves", "quadratics", "sinusoid_maml",
    "omniglot_maml_5w1s", "omniglot_protonet_5w1s", "photographs",
]  # fmt: skip
