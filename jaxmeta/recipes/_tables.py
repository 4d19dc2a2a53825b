"""Figures that papers report, and rows of their tables, from ``tables.toml`` and ``photographs.toml``."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ..models import Norm
from ..recipe import Recipe

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
    known: Literal["read", "quoted", "memory"] = "read"
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


def as_recipe(row: Row, recipe: Recipe) -> Recipe:
    """Return the recipe of a row: the paper's, by the row's name and with its values."""
    head = recipe.about.partition(".")[0]
    return Recipe(recipe.function, row.name, row.values, f"{head}, {row.title}. Published: {row.figure.short}.")


def _read(file: str) -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))


def _rows(group: dict[str, Any]) -> Iterator[Row]:
    about = {field: group[field] for field in Figure._fields if field in group}
    for row in group["rows"]:
        values, title = group.get("values", {}) | row.get("values", {}), group.get("title", "{}")
        if size := re.search(r"_(\d+)w(\d+)s$", row["name"]):
            ways, shots = map(int, size.groups())
            values, title = {"num_ways": ways, "num_shots": shots} | values, title.format(f"{ways}-way {shots}-shot")
        figure = Figure(value=row["figure"], **about)
        yield Row(row["name"], group["recipe"], figure, values, title, row.get("at"), row.get("trained_as"))


def _photographs() -> Iterator[tuple[str, Figure]]:
    for group in _read("photographs.toml")["sources"]:
        about = {field: group[field] for field in Figure._fields if field in group}
        for name, values in group["figures"].items():
            for size, value in zip(("5w1s", "5w5s"), values, strict=True):
                if value:
                    yield f"{name} {size}", Figure(value=value, **about)


_PAPERS = {
    paper: tuple(row for group in groups for row in _rows(group)) for paper, groups in _read("tables.toml").items()
}
TABLES: dict[str, tuple[Row, ...]] = {
    "omniglot": tuple(row for paper in _PAPERS for row in _PAPERS[paper] if paper.startswith("omniglot_")),
    **_PAPERS,
}
_FIGURES = {row.name: row.figure for rows in _PAPERS.values() for row in rows}
PHOTOGRAPHS = dict(_photographs())


def published(name: str) -> str:
    """Return the ``published`` text of an `Experiment`: the figure of a row, or that there is none.

    Example:
      >>> published("omniglot_maml_7w1s")
      'none; there is no figure for omniglot_maml_7w1s'
    """
    return str(_FIGURES[name]) if name in _FIGURES else f"none; there is no figure for {name}"


def published_photographs(dataset: str, backbone: str, algorithm: str, size: str) -> str:
    """Return the ``published`` text of an experiment on photographs.

    Example:
      >>> published_photographs("cub", "conv4", "protonet", "5w5s")
      '70.77 % (Chen et al. 2019)'
      >>> published_photographs("cub", "conv4", "protonet", "5w2s")
      'none; there is no figure for protonet with conv4 on cub, 5w2s'
    """
    if dataset in ("folder", "grocery"):
        return "none; these photographs and this split have no published figure"
    name = f"{dataset} {backbone} {algorithm} {size}"
    missing = f"none; there is no figure for {algorithm} with {backbone} on {dataset}, {size}"
    return str(PHOTOGRAPHS[name]) if name in PHOTOGRAPHS else missing
