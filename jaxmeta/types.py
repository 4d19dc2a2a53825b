"""The types that everything is built on. Read this file first.

Letters: N examples of one set, W ways, T tasks, L tokens, C classes, M examples of a whole data set.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

Key = jax.Array  # a typed key from `jax.random.key`, never a raw pair of integers
PyTree = Any


class Batch(NamedTuple):
    """Examples with targets.

    Attributes:
      x: pytree of arrays ``[N, ...]``: images, a dict of token ids and lengths, pairs ...
      y: pytree of arrays ``[N, ...]``; class labels are integers ``[N]`` or, per token, ``[N, L]``.
      weight: ``[N]`` or ``[N, L]``, the leading axes of the per-example loss; 0 hides padding.
      ways: for classification, bool ``[W]``: its length is the static number of ways, its entries
        say which of them are present.
    """

    x: PyTree
    y: PyTree
    weight: jax.Array | None = None
    ways: jax.Array | None = None


class Task(NamedTuple):
    """One episode; stacked on a leading axis ``[T, ...]`` it is a batch of tasks.

    Attributes:
      support: the data that `adapt` may see: a `Batch`, or an environment in reinforcement learning.
      query: the data that the outer loss is measured on.
    """

    support: Any
    query: Any


class Variables(NamedTuple):
    """The parameters and state of a model or a meta-learner, as plain nested dicts of arrays.

    Attributes:
      params: differentiated.
      state: carried, never differentiated (batch statistics).
    """

    params: PyTree
    state: PyTree = ()


class ModelInit(Protocol):
    """Make the variables of a model for inputs like ``x``."""

    def __call__(self, key: Key, x: PyTree, /) -> Variables: ...


class Apply(Protocol):
    """Run a model on inputs ``x``: return the outputs, and the state that the pass leaves."""

    def __call__(
        self,
        variables: Variables,
        x: PyTree,
        /,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        key: Key | None = None,
    ) -> tuple[Any, PyTree]: ...


class Model(NamedTuple):
    """A backbone as pure functions.

    A transformation of models is a function `Model -> Model`: it replaces fields by `_replace`.

    Attributes:
      init: ``(key, x) -> Variables``.
      apply: ``(variables, x, *, train=False, weight=None, key=None) -> (outputs, state)``, the pass over query points
        and any pass on its own. Dropout acts where ``train`` and ``key`` are given; ``weight`` hides padded examples
        from batch statistics.
      apply_support: the same for the support set, where the two differ (BatchNorm's policies); None means `apply`.
      keeps_state: whether the state that a training episode leaves outlives the episode.
    """

    init: ModelInit
    apply: Apply
    apply_support: Apply | None = None
    keeps_state: bool = False


class Aux(NamedTuple):
    """The second result of a meta-loss.

    Attributes:
      state: the `Variables.state` that the episode leaves.
      metrics: flat dict of scalars.
    """

    state: PyTree
    metrics: dict[str, jax.Array]


class MetaInit(Protocol):
    """Make the meta-parameters of a learner for tasks like ``task``."""

    def __call__(self, key: Key, task: Task, /) -> Variables: ...


class Adapt(Protocol):
    """Adapt to a support set, in evaluation mode."""

    def __call__(self, meta: Variables, support: Any, key: Key | None = None, /) -> Any: ...


class Predict(Protocol):
    """Predict for inputs ``x``, in evaluation mode; ``weight`` hides padded ones from each other."""

    def __call__(
        self, meta: Variables, adapted: Any, x: PyTree, key: Key | None = None, /, *, weight: jax.Array | None = None
    ) -> Any: ...


class MetaLoss(Protocol):
    """Return the loss of one task, in training mode, and its `Aux`."""

    def __call__(self, meta: Variables, task: Task, key: Key | None = None, /) -> tuple[jax.Array, Aux]: ...


class MetaLearner(NamedTuple):
    """A meta-learning algorithm: four pure functions of one task, made by a factory such as `maml`.

    Attributes:
      init: ``(key, task) -> meta``, the parameters and state that the outer loop owns.
      adapt: ``(meta, support, key=None) -> adapted``: fast weights, prototypes, a hidden state; a plain pytree to save
        and ship. Evaluation mode: dropout off, no statistics kept.
      predict: ``(meta, adapted, x, key=None, *, weight=None) -> outputs``, in evaluation mode. ``weight`` is passed
        only where examples are hidden: a learner of your own that never meets padding needs no such argument.
      loss: ``(meta, task, key) -> (scalar, Aux)``, in training mode: the only function that is differentiated.
    """

    init: MetaInit
    adapt: Adapt
    predict: Predict
    loss: MetaLoss


class MetaState(NamedTuple):
    """The state of training, which checkpoints hold.

    Attributes:
      step: int32 scalar, meta-steps done.
      meta: `Variables`, the learner's.
      opt_state: the outer optimizer's state.
      key: never changes; the keys of step ``s`` are derived from ``fold_in(key, s)``.
    """

    step: jax.Array
    meta: Variables
    opt_state: PyTree
    key: Key


class Estimate(NamedTuple):
    """The mean of a metric over tasks, with its 95 % interval.

    Attributes:
      mean: mean over tasks (over seeds, where several were trained).
      ci95: half-width of the interval, 1.96 standard errors.
      num_tasks: number of tasks that it was measured on.
      transductive: whether a prediction depended on the other query points; None where predictions are NaN, so that
        this cannot be told.
    """

    mean: float
    ci95: float
    num_tasks: int
    transductive: bool | None

    def __str__(self) -> str:
        kind = ", transductive" if self.transductive else ""
        return f"{self.mean:.4f} ± {self.ci95:.4f} ({self.num_tasks} tasks{kind})"

    __repr__ = __str__


class Sampler(Protocol):
    """A distribution over tasks: a pytree whose leaves are its data, so jit takes it as an argument.

    ``draw`` chooses indices, ``fetch`` looks them up, and calling the sampler does both.
    """

    def draw(self, key: Key) -> PyTree: ...

    def fetch(self, indices: PyTree) -> Task: ...

    def __call__(self, key: Key) -> Task: ...


class ClassSet(NamedTuple):
    """A labelled data set sorted by class: `datasets` make it and `tasks` draw from it.

    Class ``c`` owns the rows ``start[c] : start[c] + count[c]`` of every array in ``x``.

    Attributes:
      x: pytree of arrays ``[M, ...]``; images are uint8, scaled to [0, 1] when a task is fetched.
      start: int32 ``[C]``.
      count: int32 ``[C]``, examples of each class; classes may differ in size.
      names: the classes' names, in order.
    """

    x: PyTree
    start: np.ndarray
    count: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride] (the name is public)
    names: tuple[str, ...]

    def select(self, names: Sequence[str]) -> "ClassSet":
        """Return the set of the named classes, in the order of ``names``; the examples are not copied.

        Raises:
          ValueError: naming the classes that are not there, or that are named twice.

        Example:
          >>> data = ClassSet(np.zeros((6, 1)), np.array([0, 1, 3]), np.array([1, 2, 3]), ("a", "b", "c"))
          >>> data.select(["c", "a"]).count
          array([3, 1])
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            raise ValueError(f"`names` has {missing}, which are no classes. The classes are {list(self.names)}.")
        if len(set(names)) < len(names):
            raise ValueError(f"`names` holds a class more than once: {list(names)}.")
        return self._take([self.names.index(name) for name in names])

    def split(self, fractions: Sequence[float], key: Key) -> tuple["ClassSet", ...]:
        """Divide the classes at random into disjoint sets; the examples are not copied.

        Args:
          fractions: the share of the classes of each set, with sum 1 or less; every set has at least one class.
          key: decides which class goes where.

        Raises:
          ValueError: if a fraction is not positive, their sum is above 1, or there are fewer classes than sets.

        Example:
          >>> data = ClassSet(np.zeros((5, 1)), np.arange(5), np.ones(5, int), tuple("abcde"))
          >>> train, test = data.split([0.6, 0.4], jax.random.key(0))
          >>> len(train.names), len(test.names), sorted(train.names + test.names)
          (3, 2, ['a', 'b', 'c', 'd', 'e'])
        """
        shares, total = list(fractions), len(self.count)
        if not shares or not all(0 < share <= 1 for share in shares) or sum(shares) > 1 + 1e-9:
            raise ValueError(f"`fractions` must be positive numbers with sum 1 or less, got {shares}.")
        if total < len(shares):
            raise ValueError(f"`fractions` names {len(shares)} sets, but there are {total} classes.")
        ends = [round(total * sum(shares[: i + 1])) for i in range(len(shares))]
        for i in range(len(ends)):  # no set is empty
            ends[i] = max(ends[i], (ends[i - 1] if i else 0) + 1)
        for i in reversed(range(len(ends))):
            ends[i] = min(ends[i], total - (len(ends) - 1 - i))
        order = np.asarray(jax.random.permutation(key, total)).tolist()
        return tuple(self._take(sorted(order[a:b])) for a, b in zip([0, *ends[:-1]], ends, strict=True))

    def drop_small(self, num_examples: int) -> "ClassSet":
        """Return the set without the classes that have fewer than ``num_examples`` examples.

        Raises:
          ValueError: if ``num_examples`` is below 1, or no class is that large.

        Example:
          >>> data = ClassSet(np.zeros((6, 1)), np.array([0, 1, 3]), np.array([1, 2, 3]), ("a", "b", "c"))
          >>> data.drop_small(2).names
          ('b', 'c')
        """
        if num_examples < 1:
            raise ValueError(f"`num_examples` must be at least 1, got {num_examples}.")
        kept = [c for c, count in enumerate(self.count) if count >= num_examples]
        if not kept:
            raise ValueError(
                f"`num_examples` is {num_examples}, but the largest class has {max(self.count, default=0)} examples."
            )
        return self._take(kept)

    def _take(self, classes: Sequence[int]) -> "ClassSet":
        rows = np.asarray(classes, int)
        names = tuple(self.names[c] for c in classes) if self.names else ()
        return ClassSet(self.x, np.asarray(self.start)[rows], np.asarray(self.count)[rows], names)
