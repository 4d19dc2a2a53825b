"""What a paper reports, and recipes by the name of a row of its table: one function with other defaults."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

from ..experiment import Experiment
from ..models import Norm

Known = Literal["read", "quoted", "memory"]

_NORMS = {
    "transductive": "transductive BatchNorm",
    "support": "BatchNorm of the support set",
    "running": "BatchNorm with running averages",
}
_KNOWN = {"read": "", "quoted": "as quoted elsewhere", "memory": "from memory, unverified"}


class Figure(NamedTuple):
    """A figure of a paper.

    Attributes:
      value: as it is printed, in percent or as an error: ``"98.7 ± 0.4"``, or without an interval.
      source: which paper, and where in it.
      num_tasks: held-out tasks that it is a mean of, or None where that is not known.
      norm: what BatchNorm uses in the measurement, or None where that is not known.
      known: ``"read"`` in the paper, ``"quoted"`` by somebody else, or from ``"memory"``: no mark to pass.
      metric: ``"accuracy"``, in percent, or ``"mse"``.

    Example:
      >>> figure = Figure("98.7 ± 0.4", "MAML paper, table 1", 600, "transductive")
      >>> str(figure)
      '98.7 ± 0.4 % (600 tasks; transductive BatchNorm; MAML paper, table 1)'
      >>> figure.mean, figure.ci95
      (98.7, 0.4)
    """

    value: str
    source: str
    num_tasks: int | None = None
    norm: Norm | None = None
    known: Known = "read"
    metric: Literal["accuracy", "mse"] = "accuracy"

    @property
    def mean(self) -> float:
        return float(self.value.partition("±")[0])

    @property
    def ci95(self) -> float | None:
        interval = self.value.partition("±")[2]
        return float(interval) if interval else None

    @property
    def short(self) -> str:
        return f"{self.value} %" if self.metric == "accuracy" else self.value

    def __str__(self) -> str:
        tasks = "" if self.num_tasks is None else f"{self.num_tasks:,} tasks"
        about = [tasks, _NORMS.get(self.norm or "", ""), self.source, _KNOWN[self.known]]
        return f"{self.short} ({'; '.join(text for text in about if text)})"


def figures(values: Mapping[str, str], source: str, **about: Any) -> dict[str, Figure]:
    """Rows of one table: ``{recipe: value}``, with what they have in common.

    Example:
      >>> figures({"omniglot_anil_20w1s": "96.2 ± 0.5"}, "ANIL paper, table 2")["omniglot_anil_20w1s"].mean
      96.2
    """
    return {name: Figure(value, source, **about) for name, value in values.items()}


def published(figures: Mapping[str, Figure], name: str) -> str:
    """The text of an `Experiment`: the figure of a row, or that the paper has none.

    Example:
      >>> published({}, "omniglot_maml_7w1s")
      'none; there is no figure for omniglot_maml_7w1s'
    """
    return str(figures[name]) if name in figures else f"none; there is no figure for {name}"


def row(
    recipe: Callable[..., Experiment], name: str, title: str, figure: Figure, **defaults: Any
) -> Callable[..., Experiment]:
    """A recipe under the name of one row, with that row's defaults; its other flags stay.

    Args:
      recipe: the function of the paper.
      name: of the row.
      title: the row in words, ``"20-way 1-shot"``; with the figure it ends the first line of the explanation.
      figure: the paper's.
      **defaults: what differs from the defaults of ``recipe``.

    Raises:
      ValueError: for a default that the recipe has no argument for.

    Example:
      >>> from jaxmeta.recipes import glyphs_maml
      >>> make = row(glyphs_maml, "glyphs_5s", "5-shot", Figure("99", "nowhere"), num_shots=5)
      >>> inspect.signature(make).parameters["num_shots"].default
      5
    """
    unknown = set(defaults) - set(inspect.signature(recipe).parameters)
    if unknown:
        raise ValueError(f"{name}: `{recipe.__name__}` has no argument {', '.join(sorted(unknown))}.")
    head, _, rest = (recipe.__doc__ or "").partition("\n")
    made = partial(recipe, **defaults)  # whose signature has these defaults
    about = f"{head.partition('.')[0]}, {title}. Published: {figure.short}.\n{rest}"
    vars(made).update(__name__=name, __doc__=about, __annotations__=recipe.__annotations__)
    return made
