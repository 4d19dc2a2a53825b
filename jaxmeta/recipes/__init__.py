"""Published experiments by name: typed functions whose arguments are also the flags of ``jaxmeta train``.

A recipe returns an `Experiment`. A new one is a file with such a function and a line in `RECIPES`. A row of a paper's
table, ``omniglot_maml_20w1s``, is the paper's recipe with the values of that row; `TABLES` has the rows as data, with
the paper's figures.
"""

from .._suggest import near
from ..experiment import Experiment as Experiment
from ..experiment import by_split as by_split
from ..experiment import by_steps as by_steps
from ..experiment import nearest_neighbour as nearest_neighbour
from ..recipe import Recipe, import_own, recipe
from ._bandits import bandits
from ._cartpole import cartpole
from ._characters import characters
from ._curves import curves
from ._glyphs_maml import glyphs_maml
from ._intents import intents
from ._navigation import navigation
from ._omniglot_anil import omniglot_anil
from ._omniglot_imaml import omniglot_imaml
from ._omniglot_maml import omniglot_maml
from ._omniglot_maml_plus_plus import omniglot_maml_plus_plus
from ._omniglot_matching import omniglot_matching
from ._omniglot_meta_sgd import omniglot_meta_sgd
from ._omniglot_protonet import omniglot_protonet
from ._omniglot_r2d2 import omniglot_r2d2
from ._omniglot_relation import omniglot_relation
from ._omniglot_reptile import omniglot_reptile
from ._photographs import photographs
from ._quadratics import quadratics
from ._ratings import ratings
from ._sinusoid_maml import sinusoid_maml
from ._tables import TABLES, Figure, Row, as_recipe
from ._tabular import tabular

_RECIPES = (
    glyphs_maml, characters, curves, quadratics, sinusoid_maml, photographs, intents, ratings,
    navigation, bandits, tabular, cartpole,
    omniglot_maml, omniglot_reptile, omniglot_protonet, omniglot_matching, omniglot_relation, omniglot_meta_sgd,
    omniglot_maml_plus_plus, omniglot_anil, omniglot_imaml, omniglot_r2d2,
)  # fmt: skip
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}
_ROWS = [row for table in TABLES.values() for row in table if row.name not in RECIPES]
RECIPES |= {row.name: as_recipe(row, RECIPES[row.recipe]) for row in _ROWS}

__all__ = [
    "RECIPES", "TABLES", "Recipe", "recipe", "find", "Figure", "Row",
    "glyphs_maml", "characters", "photographs", "intents", "curves", "quadratics", "sinusoid_maml", "ratings",
    "navigation", "bandits", "tabular", "cartpole",
    "omniglot_maml", "omniglot_reptile", "omniglot_protonet", "omniglot_matching", "omniglot_relation",
    "omniglot_meta_sgd", "omniglot_maml_plus_plus", "omniglot_anil", "omniglot_imaml", "omniglot_r2d2",
]  # fmt: skip


def __getattr__(name: str) -> Recipe:
    """Return the recipe of a table's row by its name."""
    if name in RECIPES:
        return RECIPES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def find(name: str) -> Recipe:
    """Return a recipe by its name, or import a function of your own as one.

    Args:
      name: a name in `RECIPES`, a function in a file, ``"my_file.py:my_experiment"``, or in a module that Python finds,
        ``"package.module:my_experiment"``. Files and modules are imported, so that their code runs.

    Raises:
      ValueError: if there is no such recipe, file, module or function, or if the function is no recipe: an argument has
        no type, or it does not return an `Experiment`.

    Example:
      >>> find("sinusoid_maml")
      Recipe('sinusoid_maml')
    """
    if ":" in name:
        return import_own(name)
    if name not in RECIPES:
        hint = " A recipe of your own is named my_file.py:my_function." if name.endswith(".py") else ""
        raise ValueError(f"there is no recipe {name!r}; {near(name, RECIPES)} See `jaxmeta list recipes`.{hint}")
    return RECIPES[name]
