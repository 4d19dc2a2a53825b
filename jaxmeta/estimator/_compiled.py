"""A learner's `adapt` and `predict`, compiled once for all estimators, and for sizes of a support set up to padding.

Letters: N support examples.
"""

from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from jaxmeta.learner import predict_rows
from jaxmeta.types import Batch, MetaLearner, Variables

from ._arrays import padded

CLOSE = 1e-3  # relative difference of outputs that padding may make by rounding


class Compiled:
    """The compiled functions of one learner.

    A support set of a new size is a new program. From the second size on, sets are padded to powers of two with
    examples of weight 0, so that sets that grow compile log2(N) times. Learners that draw mini-batches would draw the
    padding; one comparison of the two adaptations tells, and such learners get their sets as they are.
    """

    def __init__(self, learner: MetaLearner):
        self._adapt = jax.jit(learner.adapt)
        self.predict = jax.jit(partial(predict_rows, learner))
        self._sizes: set[int] = set()
        self._pads: bool | None = None  # unknown before the second size

    def adapt(self, meta: Variables, support: Batch) -> Any:
        """Adapt to a support set on the host, ``[N, ...]``."""
        size = len(support.y)
        if self._pads or (size not in self._sizes and self._sizes and self._pads is None):
            adapted = self._adapt(meta, _padded(support))
            if self._pads is None:
                plain = self._adapt(meta, support)
                self._pads = _agree(*(self.predict(meta, a, support.x) for a in (adapted, plain)))
                self._sizes.add(size)
            if self._pads:
                return adapted
        self._sizes.add(size)
        return self._adapt(meta, support)


@lru_cache(maxsize=16)
def compiled(learner: MetaLearner) -> Compiled:
    """Return the compiled functions of a learner, which all its estimators share."""
    return Compiled(learner)


def _padded(support: Batch) -> Batch:
    weight: Any = padded(np.ones(len(support.y), np.float32))
    return Batch(padded(support.x), padded(support.y), weight, support.ways)


def _agree(one: Any, other: Any) -> bool:
    """Return whether two outputs are equal up to rounding."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.abs(np.subtract(a, b)).max() <= CLOSE * max(float(np.abs(b).max()), 1e-6) for a, b in pairs)
