"""A stream of alphabets, one after the other, each turned by an angle of its own: what a learner may forget."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.types import ClassSet

from ._episodes import episodes
from ._rotated import Rotated, rotated


def stream(
    data: ClassSet,
    *,
    num_phases: int,
    classes_per_phase: int,
    num_ways: int,
    num_shots: int,
    num_queries: int,
    max_degrees: float = 360.0,
    seed: int = 0,
) -> list[Rotated]:
    r"""The phases of a stream: N-way K-shot tasks within one alphabet at a time, turned by one angle at a time.

    Phase $p$ of $P$ has the first classes of the $p$-th alphabet, in a drawn order, turned by $p / P$ of
    ``max_degrees``. An alphabet is the part of a class's name before ``/``, as Omniglot's names have it. All phases
    have the same shapes and one copy of the images: train on them in turn with one compiled program.

    Args:
      data: classes with names ``alphabet/character``.
      num_phases: P.
      classes_per_phase: classes of an alphabet; alphabets with fewer are left out.
      num_ways, num_shots, num_queries: of a task, as for `episodes`.
      max_degrees: what the angles divide; 0 leaves all upright.
      seed: of the alphabets' order.

    Returns:
      A list of samplers, one a phase.

    Raises:
      ValueError: if there are fewer alphabets than phases, counts are not positive, or a task does not fit a phase.

    Example:
      >>> names = tuple(f"{a}/{i}" for a in "abc" for i in range(4))
      >>> data = ClassSet(np.zeros((36, 8, 8, 1), np.uint8), np.arange(0, 36, 3), np.full(12, 3), names)
      >>> options = {"num_ways": 2, "num_shots": 1, "num_queries": 1}
      >>> phases = stream(data, num_phases=3, classes_per_phase=4, **options)
      >>> [float(phase.degrees) for phase in phases]
      [0.0, 120.0, 240.0]
    """
    if num_phases < 1 or classes_per_phase < 1:
        raise ValueError(
            f"`num_phases` and `classes_per_phase` must be at least 1, got {num_phases} and {classes_per_phase}."
        )
    alphabets: dict[str, list[int]] = {}
    for i, name in enumerate(data.names):
        alphabets.setdefault(name.partition("/")[0], []).append(i)
    large = [rows for rows in alphabets.values() if len(rows) >= classes_per_phase]
    if len(large) < num_phases:
        raise ValueError(
            f"`num_phases` is {num_phases}, but only {len(large)} of {len(alphabets)} alphabets (the part of a class's "
            f"name before '/') have {classes_per_phase} classes. Ask for fewer phases or `classes_per_phase`."
        )
    order = np.random.default_rng(seed).permutation(len(large))[:num_phases]
    x = jax.tree.map(jnp.asarray, data.x)  # moved to the device once

    def phase(p: int, rows: list[int]) -> Rotated:
        rows = rows[:classes_per_phase]
        names = tuple(data.names[i] for i in rows)
        part = ClassSet(x, np.asarray(data.start)[rows], np.asarray(data.count)[rows], names)
        sampler = episodes(part, num_ways=num_ways, num_shots=num_shots, num_queries=num_queries)
        return rotated(sampler, max_degrees * p / num_phases)

    return [phase(p, large[i]) for p, i in enumerate(order)]
