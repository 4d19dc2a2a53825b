"""The protocol by which a sampler of episodes says which classes it draws from.

Letters: W ways, C classes.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from jaxmeta.types import Sampler

from ._layout import Layout


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes that a sampler draws from, and the layout of its episodes.

    Attributes:
      layout: ways, shots and queries of an episode.
      count: ``[C]``, the number of examples of each class; None for an endless family. Classes that are made by
        turning images count as classes of their own.
      names: ``[C]``, the names of the classes; empty where they have none.
    """

    layout: Layout
    count: np.ndarray | None
    names: tuple[str, ...]


@runtime_checkable
class ClassSampler(Protocol):
    """A `Sampler` that says which classes it draws from, and can draw episodes of another layout from them.

    Samplers that wrap another one pass these on. A sampler without classes returns None from `classes`, or leaves the
    three methods out.
    """

    def classes(self) -> Classes | None:
        """Return the classes and the layout of an episode."""
        ...

    def with_layout(self, layout: Layout) -> Sampler:
        """Return a sampler of episodes of another layout from the same classes."""
        ...

    def class_indices(self, indices: Any) -> jax.Array:
        """Return the class of each way, int32 ``[W]``, from what `draw` returned."""
        ...


def classes_of(sampler: Any) -> Classes | None:
    """Return the classes of a sampler, or None if it says nothing about classes.

    Example:
      >>> from jaxmeta import tasks
      >>> tasks.classes_of(tasks.glyphs(num_ways=5, num_shots=1, num_queries=3)).layout
      Layout(num_ways=(5, 5), num_shots=(1, 1), num_queries=3)
      >>> tasks.classes_of(tasks.sinusoid())
    """
    return sampler.classes() if isinstance(sampler, ClassSampler) else None
