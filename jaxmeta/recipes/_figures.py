"""Figures that papers report, and rows of their tables."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

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
      value: the figure as printed, in percent or as an error: ``"98.7 ± 0.4"``, or without an interval.
      source: the paper, and the place in it.
      num_tasks: held-out tasks that it is a mean of, or None where that is unknown.
      norm: the statistics of BatchNorm in the measurement, or None where they are unknown.
      known: ``"read"`` in the paper, ``"quoted"`` by somebody else, or from ``"memory"`` and thus no mark to pass.
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
        """The figure without its interval."""
        return float(self.value.partition("±")[0])

    @property
    def ci95(self) -> float | None:
        """Half of the interval's width, or None."""
        interval = self.value.partition("±")[2]
        return float(interval) if interval else None

    @property
    def short(self) -> str:
        """The figure with its unit."""
        return f"{self.value} %" if self.metric == "accuracy" else self.value

    def __str__(self) -> str:
        tasks = "" if self.num_tasks is None else f"{self.num_tasks:,} tasks"
        about = [tasks, _NORMS.get(self.norm or "", ""), self.source, _KNOWN[self.known]]
        return f"{self.short} ({'; '.join(text for text in about if text)})"


class Row(NamedTuple):
    """A row of a paper's table.

    Attributes:
      name: name of the row, and of its run; rows of one name share their run.
      recipe: name of the recipe in `RECIPES`.
      figure: the paper's figure.
      values: arguments of the recipe that differ from its defaults.
      title: the row in words, ``"20-way 1-shot"``.
      at: name of the measurement in the results, ``"after 1 step"``; None is the headline.
      trained_as: name of the row that shares its training with this one: only the measurements differ.
    """

    name: str
    recipe: str
    figure: Figure
    values: Mapping[str, Any] = MappingProxyType({})
    title: str = ""
    at: str | None = None
    trained_as: str | None = None


def rows(
    name: str,
    figure: Figure,
    printed: Mapping[str, str],
    values: Callable[[int, int], Mapping[str, Any]] = lambda ways, shots: {},
    *,
    recipe: str | None = None,
    title: str = "{}",
    trained_as: Callable[[int, int], str | None] = lambda ways, shots: None,
) -> tuple[Row, ...]:
    """Return rows of few-shot classification that differ in ways and shots.

    Args:
      name: beginning of the rows' names.
      figure: everything that their figures share.
      printed: the figures by ways and shots, ``{"5w1s": "98.7 ± 0.4"}``.
      values: arguments by ways and shots, where they differ from the recipe's defaults.
      recipe: name of the recipe, by default ``name``.
      title: the rows' titles, with ``{}`` in place of ways and shots.
      trained_as: name of the row that shares its training, by ways and shots; a row's own name stands for none.

    Example:
      >>> (row,) = rows("omniglot_anil", Figure("", "ANIL paper, table 2"), {"20w1s": "96.2 ± 0.5"})
      >>> row.name, dict(row.values), row.title, row.figure.mean
      ('omniglot_anil_20w1s', {'num_ways': 20, 'num_shots': 1}, '20-way 1-shot', 96.2)
    """
    found: list[Row] = []
    for size, value in printed.items():
        ways, shots = map(int, re.findall(r"\d+", size))
        same, full = trained_as(ways, shots), f"{name}_{size}"
        arguments = {"num_ways": ways, "num_shots": shots, **values(ways, shots)}
        row = Row(
            full, recipe or name, figure._replace(value=value), arguments, title.format(f"{ways}-way {shots}-shot")
        )
        found.append(row._replace(trained_as=None if same == full else same))
    return tuple(found)


def queries_as_shots(ways: int, shots: int) -> dict[str, int]:
    """Return the arguments of rows whose tasks have as many queries as shots.

    Example:
      >>> queries_as_shots(5, 1)
      {'num_queries': 1, 'num_test_queries': 1}
    """
    return {"num_queries": shots, "num_test_queries": shots}
