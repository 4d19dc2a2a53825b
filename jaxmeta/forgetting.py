"""How much of earlier tasks a learner loses while it learns later ones."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from .evaluation import evaluate
from .types import Key, MetaLearner, Sampler, Variables


class Forgetting(NamedTuple):
    """The scores of a learner along a stream of P phases.

    Attributes:
      scores: ``[P, P]``; row i has the metric on every phase after training on phases 0 to i.
      curve: ``[P]``; entry i is the mean, over the phases before i, of the best score since less the one after phase i.
    """

    scores: np.ndarray
    curve: np.ndarray


def forgetting_curve(
    learner: MetaLearner,
    metas: Sequence[Variables],
    phases: Sequence[Sampler],
    *,
    num_tasks: int,
    metric: str = "accuracy",
    mode: Literal["max", "min"] = "max",
    key: Key | None = None,
) -> Forgetting:
    r"""Measure what a learner loses on earlier phases of a stream.

    $F_i = \frac{1}{i} \sum_{j < i} (\max_{j \le l < i} a_{lj} - a_{ij})$.

    $a_{ij}$ is the metric on phase $j$ after training up to phase $i$ (after Chaudhry et al., 2018,
    https://arxiv.org/abs/1801.10112). Negative where later phases helped.

    Args:
      learner: adapts and predicts; from `replay`, the one that was given to it.
      metas: the meta-parameters after each phase.
      phases: the samplers, in the order of training.
      metric: a name among the metrics of `evaluate`.
      mode: ``"max"``, or ``"min"`` for errors, of which an increase is forgetting.
      num_tasks, key: as for `evaluate`; every row is measured on the same tasks.

    Raises:
      ValueError: if ``metas`` and ``phases`` differ in number, an unknown ``mode`` or an unknown ``metric``.

    Example:
      >>> # jm.forgetting_curve(learner, [after_a.meta, after_b.meta], [a, b], num_tasks=200).curve
    """
    if len(metas) != len(phases) or not phases:
        raise ValueError(f"`metas` needs one entry for each of the {len(phases)} phases, got {len(metas)}.")
    if mode not in ("max", "min"):
        raise ValueError(f"`mode` must be 'max' or 'min', got {mode!r}.")

    def score(meta: Variables, phase: Sampler) -> float:
        estimates = evaluate(learner, meta, phase, num_tasks=num_tasks, key=key)
        if metric not in estimates:
            raise ValueError(f"`metric` {metric!r} is not among the metrics {sorted(estimates)}.")
        return estimates[metric].mean

    scores = np.array([[score(meta, phase) for phase in phases] for meta in metas])
    return Forgetting(scores, _forgetting(scores if mode == "max" else -scores))


def _forgetting(scores: np.ndarray) -> np.ndarray:
    lost = [[scores[j:i, j].max() - scores[i, j] for j in range(i)] for i in range(len(scores))]
    return np.array([np.mean(row) if row else 0.0 for row in lost])
