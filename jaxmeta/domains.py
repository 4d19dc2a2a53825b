"""Measure learners on several domains, and rank them."""

from collections.abc import Mapping
from typing import Any

from .evaluation import Metrics, evaluate
from .types import Estimate, Key, MetaLearner, Sampler, Variables

__all__ = ["evaluate_domains", "average_ranks"]


def evaluate_domains(
    learner: MetaLearner,
    meta: Variables,
    samplers: Mapping[str, Sampler],
    *,
    num_tasks: int,
    metrics: Metrics | None = None,
    key: Key | None = None,
) -> dict[str, dict[str, Estimate]]:
    """Measure a learner on each domain apart.

    Args:
      samplers: the domains by name, such as ``tasks.domains(...).samplers``.
      learner, meta, num_tasks, metrics, key: as for `evaluate`; ``num_tasks`` of every domain.

    Returns:
      ``{domain: {metric: Estimate}}``.

    Example:
      >>> import jax, jaxmeta as jm
      >>> both = jm.tasks.domains({"waves": jm.tasks.sinusoid(), "lines": jm.tasks.lines()})
      >>> learner = jm.maml(jm.from_linen(jm.backbones.MLP((4,), num_outputs=1)), jm.losses.mse)
      >>> meta = learner.init(jax.random.key(0), both(jax.random.key(1)))
      >>> sorted(evaluate_domains(learner, meta, both.samplers, num_tasks=4))
      ['lines', 'waves']
    """
    return {
        name: evaluate(learner, meta, sampler, num_tasks=num_tasks, metrics=metrics, key=key)
        for name, sampler in samplers.items()
    }


def average_ranks(table: Mapping[str, Mapping[str, Estimate]], *, larger_is_better: bool = True) -> dict[str, float]:
    r"""Return each learner's rank, averaged over domains; 1 is the best.

    On a domain, learners that do not differ from the best of those that are left share the mean of their ranks, as in
    the tables of Meta-Dataset (Triantafillou et al., 2020, https://arxiv.org/abs/1903.03096). Two means differ if their
    distance is beyond $\sqrt{c_1^2 + c_2^2}$ of their 95 % intervals $c$.

    Args:
      table: ``{learner: {domain: Estimate}}``, all of the same domains.
      larger_is_better: whether the metric is an accuracy, and not an error.

    Raises:
      ValueError: if there is no learner, or they were measured on different domains.

    Example:
      >>> estimate = lambda mean: Estimate(mean, 0.01, 100, False)
      >>> average_ranks({"a": {"x": estimate(0.9)}, "b": {"x": estimate(0.895)}, "c": {"x": estimate(0.5)}})
      {'a': 1.5, 'b': 1.5, 'c': 3.0}
    """
    names = list(table)
    if not names or any({*table[name]} != {*table[names[0]]} for name in names):
        seen = {name: list(table[name]) for name in names}
        raise ValueError(f"`table` must have the same domains for each learner, got {seen}.")
    total: dict[str, float] = dict.fromkeys(names, 0.0)
    sign: Any = -1 if larger_is_better else 1
    for domain in table[names[0]]:
        left = sorted(names, key=lambda name: sign * table[name][domain].mean)
        rank = 1
        while left:
            best = table[left[0]][domain]
            apart = lambda e: abs(e.mean - best.mean) > (e.ci95**2 + best.ci95**2) ** 0.5  # noqa: B023 (used at once)
            same = [name for name in left if not apart(table[name][domain])]
            for name in same:
                total[name] += rank + (len(same) - 1) / 2
            rank += len(same)
            left = [name for name in left if name not in same]
    return {name: value / len(table[names[0]]) for name, value in total.items()}
