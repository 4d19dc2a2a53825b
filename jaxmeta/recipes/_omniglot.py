"""What every recipe on Omniglot shares: where the drawings come from, and which characters are held out."""

from collections.abc import Mapping
from typing import Any, Literal

import jaxmeta as jm

from ..experiment import by_split
from ..tasks._episodes import Rotate

Resize = Literal["nearest", "antialias"]
TrainSplit = Literal["trainval", "train"]


def omniglot_tasks(
    source: Mapping[str, Any],
    train_split: TrainSplit,
    *,
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    rotate: Rotate,
    test_rotate: Rotate | Literal["same"] = "same",
) -> dict[str, Any]:
    """The tasks of an `Experiment`, and how often it is validated.

    Args:
      source: ``data_dir``, ``resize`` and ``download``, as for `datasets.omniglot`.
      train_split: ``"trainval"``, the published 1,200 training characters without validation, or ``"train"``,
        1,028 of them; every 1,000 steps the other 172 then serve validation.
      train, test: ``num_ways``, ``num_shots`` and ``num_queries`` in training and on held-out characters.
      rotate: ``"extra"`` makes turned characters further classes, ``"draw"`` turns each of a task's.
      test_rotate: the same for held-out characters, where it differs.
    """
    test_rotate = rotate if test_rotate == "same" else test_rotate

    def tasks(split: str, layout: Mapping[str, Any], rotate: Rotate):
        return jm.tasks.episodes(jm.datasets.omniglot(split, **source), **layout, rotate=rotate)

    validates = train_split == "train"
    return {
        "tasks": by_split(
            train=lambda: tasks(train_split, train, rotate),
            val=(lambda: tasks("val", test, test_rotate)) if validates else None,
            test=lambda: tasks("test", test, test_rotate),
        ),
        "eval_every": 1_000 if validates else None,
    }
