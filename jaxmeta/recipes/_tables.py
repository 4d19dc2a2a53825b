"""Tables of papers as rows of recipes, for ``jaxmeta reproduce``: a new one is a line in `TABLES`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..experiment import Experiment
from . import (
    _omniglot_anil,
    _omniglot_imaml,
    _omniglot_maml,
    _omniglot_maml_plus_plus,
    _omniglot_matching,
    _omniglot_meta_sgd,
    _omniglot_protonet,
    _omniglot_r2d2,
    _omniglot_relation,
    _omniglot_reptile,
    _sinusoid_maml,
)
from ._published import Figure


class Row(NamedTuple):
    """A row of a table: what is trained, which measurement counts, and what the paper has there.

    Attributes:
      name: of the row, and of its run; rows of one name share their run.
      recipe: its name in `RECIPES`.
      figure: the paper's.
      arguments: of the recipe, where they differ from its defaults.
      at: the measurement's name in the results, ``"after 1 step"``; None is the headline.
      trained_as: the row whose training is this one's too: only the measurements differ.
    """

    name: str
    recipe: str
    figure: Figure
    arguments: Mapping[str, Any] = MappingProxyType({})
    at: str | None = None
    trained_as: str | None = None


_OMNIGLOT = (
    _omniglot_maml,
    _omniglot_reptile,
    _omniglot_protonet,
    _omniglot_matching,
    _omniglot_relation,
    _omniglot_meta_sgd,
    _omniglot_maml_plus_plus,
    _omniglot_anil,
    _omniglot_imaml,
    _omniglot_r2d2,
)

OMNIGLOT_ROWS: dict[str, Callable[..., Experiment]] = {
    name: recipe for paper in _OMNIGLOT for name, recipe in paper.ROWS.items()
}


def _by_name(paper: Any) -> tuple[Row, ...]:
    """A row for each of a paper's recipes."""
    same = getattr(paper, "TRAINED_AS", {})
    return tuple(Row(name, name, paper.FIGURES[name], trained_as=same.get(name)) for name in paper.ROWS)


_PAPERS = {paper.__name__.rpartition("._")[2]: _by_name(paper) for paper in _OMNIGLOT}

TABLES: dict[str, tuple[Row, ...]] = {
    "omniglot": tuple(row for rows in _PAPERS.values() for row in rows),
    **_PAPERS,
    "sinusoid": tuple(
        Row("sinusoid_maml", "sinusoid_maml", figure, at=at) for at, figure in _sinusoid_maml.FIGURES.items()
    ),
}
