"""A stream of alphabets, each turned by an angle of its own, to measure forgetting."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.types import ClassSet

from ._checks import finite, positive
from ._episodes import check_data, episodes
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
    r"""Return the phases of a stream; each has N-way K-shot tasks of one alphabet, turned by one angle.

    Phase $p$ of $P$ has the first classes of the $p$-th alphabet in a random order, turned by $p / P$ of
    ``max_degrees``. The alphabet of a class is the part of its name before ``/``, as in Omniglot's names. All phases
    have the same shapes and share one copy of the images: one compiled program trains on them in turn.

    Args:
      data: classes with names ``alphabet/character``.
      num_phases: the number of phases P.
      classes_per_phase: the number of classes of a phase; alphabets with fewer classes are left out.
      num_ways, num_shots, num_queries: the layout of a task, as for `episodes`.
      max_degrees: the range that the angles divide; 0 leaves all images upright.
      seed: the seed of the order of the alphabets.

    Returns:
      A list with one sampler for each phase.

    Raises:
      TypeError: if ``data`` is no `ClassSet`, or an argument is no number.
      ValueError: if there are fewer alphabets than phases, a size is below 1, ``max_degrees`` is not finite, ``seed``
        is negative, or a task does not fit a phase.

    Example:
      >>> names = tuple(f"{a}/{i}" for a in "abc" for i in range(4))
      >>> data = ClassSet(np.zeros((36, 8, 8, 1), np.uint8), np.arange(0, 36, 3), np.full(12, 3), names)
      >>> phases = stream(data, num_phases=3, classes_per_phase=4, num_ways=2, num_shots=1, num_queries=1)
      >>> [float(phase.degrees) for phase in phases]
      [0.0, 120.0, 240.0]
    """
    num_phases = positive("num_phases", num_phases)
    classes_per_phase = positive("classes_per_phase", classes_per_phase)
    degrees = finite("max_degrees", max_degrees)
    if not isinstance(seed, int | np.integer) or seed < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"`seed` must be a whole number >= 0, got {seed!r}.")
    check_data(data)
    alphabets: dict[str, list[int]] = {}
    for i, name in enumerate(data.names):
        alphabets.setdefault(name.partition("/")[0], []).append(i)
    large = [rows for rows in alphabets.values() if len(rows) >= classes_per_phase]
    if len(large) < num_phases:
        raise ValueError(
            f"`num_phases` is {num_phases}, but only {len(large)} of {len(alphabets)} alphabets (the part of a class's "
            f"name before '/') have {classes_per_phase} classes. Give fewer phases or classes per phase."
        )
    order = np.random.default_rng(seed).permutation(len(large))[:num_phases]
    x = jax.tree.map(jnp.asarray, data.x)  # moves to the device once

    def phase(p: int, rows: list[int]) -> Rotated:
        rows = rows[:classes_per_phase]
        names = tuple(data.names[i] for i in rows)
        part = ClassSet(x, np.asarray(data.start)[rows], np.asarray(data.count)[rows], names)
        sampler = episodes(part, num_ways=num_ways, num_shots=num_shots, num_queries=num_queries)
        return rotated(sampler, degrees * p / num_phases)

    return [phase(p, large[i]) for p, i in enumerate(order)]
