"""Rows of papers' tables, as data: a row has a name, a recipe, the values that differ, and the paper's figure."""

from collections.abc import Mapping
from typing import Any

from ._figures import Figure, Row, queries_as_shots, rows

_MAML = Figure("", "MAML paper, table 1", num_tasks=600, norm="transductive")
_FOMAML = Figure("", "Reptile paper", norm="transductive", known="quoted")
_REPTILE = Figure("", "Reptile paper", num_tasks=10_000, norm="support", known="quoted")
_PROTONET = Figure("", "ProtoNet paper, table 1", num_tasks=1_000, norm="running")
_MATCHING = Figure("", "table 1 of the MAML and ProtoNet papers", known="quoted")
_RELATION = Figure("", "relation networks paper", norm="transductive", known="quoted")
_META_SGD = Figure("", "Meta-SGD paper", known="quoted")
_MAML_PLUS_PLUS = Figure("", "MAML++ paper", num_tasks=600, known="quoted")
_ANIL = Figure("", "ANIL paper, table 2")
_IMAML = Figure("", "iMAML paper, gradient descent", num_tasks=600, norm="transductive", known="quoted")
_R2D2 = Figure("", "R2-D2 paper", num_tasks=10_000, known="memory")
_SINUSOID = Figure("", "MAML paper, section 5.1", known="quoted", metric="mse")

_REPTILE_20 = {"num_steps": 200_000, "inner_lr": 5e-4, "num_inner_steps": 10, "batch_size": 20, "test_batch_size": 10}
_RELATION_QUERIES = {(5, 1): 19, (5, 5): 15, (20, 1): 10, (20, 5): 5}  # per class, so that a step's pairs stay few


def _maml(ways: int, shots: int) -> Mapping[str, Any]:
    size = {"tasks_per_step": 16, "num_inner_steps": 5} if ways == 20 else {}
    return {**queries_as_shots(ways, shots), **size}


def _meta_sgd(ways: int, shots: int) -> Mapping[str, Any]:
    return {**queries_as_shots(ways, shots), **({"tasks_per_step": 16} if ways == 20 else {})}


def _reptile(ways: int, shots: int) -> Mapping[str, Any]:
    return _REPTILE_20 if ways == 20 else {}


def _relation(ways: int, shots: int) -> Mapping[str, Any]:
    return {"num_queries": _RELATION_QUERIES[ways, shots], "num_test_queries": _RELATION_QUERIES[ways, shots]}


def _reptile_1_shot(ways: int, shots: int) -> str:
    return f"omniglot_reptile_{ways}w1s"


_PAPERS: dict[str, tuple[Row, ...]] = {
    "omniglot_maml": (
        *rows("omniglot_maml", _MAML,
              {"5w1s": "98.7 ± 0.4", "5w5s": "99.9 ± 0.1", "20w1s": "95.8 ± 0.3", "20w5s": "98.9 ± 0.2"}, _maml),
        *rows("omniglot_maml_mlp", _MAML, {"5w1s": "89.7 ± 1.1", "5w5s": "97.5 ± 0.6"},
              lambda ways, shots: {**_maml(ways, shots), "network": "mlp"},
              recipe="omniglot_maml", title="perceptron, {}"),
        *rows("omniglot_fomaml", _FOMAML,
              {"5w1s": "98.3 ± 0.5", "5w5s": "99.2 ± 0.2", "20w1s": "89.4 ± 0.5", "20w5s": "97.9 ± 0.1"},
              lambda ways, shots: {**_maml(ways, shots), "first_order": True},
              recipe="omniglot_maml", title="first-order, {}"),
    ),
    "omniglot_reptile": (
        *rows("omniglot_reptile", _REPTILE,
              {"5w1s": "95.39 ± 0.09", "5w5s": "98.90 ± 0.10", "20w1s": "88.14 ± 0.15", "20w5s": "96.65 ± 0.33"},
              _reptile, trained_as=_reptile_1_shot),
        *rows("omniglot_reptile_transductive", _REPTILE._replace(norm="transductive"),
              {"5w1s": "97.68 ± 0.04", "5w5s": "99.48 ± 0.06", "20w1s": "89.43 ± 0.14", "20w5s": "97.12 ± 0.32"},
              lambda ways, shots: {**_reptile(ways, shots), "norm": "transductive"},
              recipe="omniglot_reptile", title="with transduction, {}", trained_as=_reptile_1_shot),
    ),
    "omniglot_protonet": rows(
        "omniglot_protonet", _PROTONET, {"5w1s": "98.8", "5w5s": "99.7", "20w1s": "96.0", "20w5s": "98.9"},
        title="{}, trained on 60 ways", trained_as=lambda ways, shots: f"omniglot_protonet_5w{shots}s",
    ),
    "omniglot_matching": rows(
        "omniglot_matching", _MATCHING, {"5w1s": "98.1", "5w5s": "98.9", "20w1s": "93.8", "20w5s": "98.5"}
    ),
    "omniglot_relation": rows(
        "omniglot_relation", _RELATION,
        {"5w1s": "99.6 ± 0.2", "5w5s": "99.8 ± 0.1", "20w1s": "97.6 ± 0.2", "20w5s": "99.1 ± 0.1"}, _relation,
    ),
    "omniglot_meta_sgd": (
        *rows("omniglot_meta_sgd", _META_SGD, {"5w1s": "99.53 ± 0.26", "5w5s": "99.93 ± 0.09"}, _meta_sgd),
        *rows("omniglot_meta_sgd", _META_SGD._replace(known="memory"),
              {"20w1s": "95.93 ± 0.38", "20w5s": "98.97 ± 0.19"}, _meta_sgd),
    ),
    "omniglot_maml_plus_plus": (
        *rows("omniglot_maml_plus_plus", _MAML_PLUS_PLUS, {"5w1s": "99.47", "5w5s": "99.93"}),
        *rows("omniglot_maml_plus_plus", _MAML_PLUS_PLUS._replace(known="memory"),
              {"20w1s": "97.65 ± 0.05", "20w5s": "99.33 ± 0.03"}),
    ),
    "omniglot_anil": rows("omniglot_anil", _ANIL, {"20w1s": "96.2 ± 0.5", "20w5s": "98.0 ± 0.3"}, queries_as_shots),
    "omniglot_imaml": rows(
        "omniglot_imaml", _IMAML, {"5w1s": "99.16", "5w5s": "99.67", "20w1s": "94.46", "20w5s": "98.69"},
        queries_as_shots,
    ),
    "omniglot_r2d2": rows(
        "omniglot_r2d2", _R2D2, {"5w1s": "98.9", "5w5s": "99.7", "20w1s": "96.2", "20w5s": "99.2"},
        title="{}, trained on 60 ways", trained_as=lambda ways, shots: "omniglot_r2d2_5w1s",
    ),
}  # fmt: skip

TABLES: dict[str, tuple[Row, ...]] = {
    "omniglot": tuple(row for table in _PAPERS.values() for row in table),
    **_PAPERS,
    "sinusoid": (
        Row("sinusoid_maml", "sinusoid_maml", _SINUSOID._replace(value="0.67"), title="5-shot", at="after 1 step"),
        Row("sinusoid_maml", "sinusoid_maml", _SINUSOID._replace(value="0.35"), title="5-shot", at="after 10 steps"),
    ),
}

_FIGURES = {row.name: row.figure for row in TABLES["omniglot"]}


def published(name: str) -> str:
    """Return the ``published`` text of an `Experiment`: the figure of a row, or that there is none.

    Example:
      >>> published("omniglot_maml_7w1s")
      'none; there is no figure for omniglot_maml_7w1s'
    """
    return str(_FIGURES[name]) if name in _FIGURES else f"none; there is no figure for {name}"
