"""An experiment: a learner, its tasks, and the protocol by which it is trained and measured.

A recipe returns one; `jaxmeta.runs` trains it into a folder, and so does the command line.
"""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import optax

from .defaults import Auto
from .types import Batch, Key, MetaLearner, PyTree, Sampler, Task, Variables
from .validation import check_disjoint


class Experiment(NamedTuple):
    """A learner, its tasks, and the protocol by which it is trained and measured.

    Attributes:
      learner: the learner to train.
      optimizer: the outer optimizer.
      tasks: ``"train" | "val" | "test" -> Sampler``, from `by_split`; None where there is no validation. Data is read
        when its tasks are first used, so that a trained learner can be used where its data is absent.
      num_steps: meta-steps.
      tasks_per_step: tasks in a meta-batch.
      published: the paper's figure and protocol, in words; empty without one.
      step: an outer step of the learner's own, in place of `meta_step`: see `fit`.
      make_learner: ``(num_steps=k) -> MetaLearner`` for learners that adapt by steps, else None.
      test_steps: the inner steps at which the trained learner is measured; the last is the headline.
      chunk: tasks differentiated at a time, None for all, or ``"auto"`` for the fastest number on the platform: see
        `meta_step`.
      log_every: meta-steps between two rows of the log.
      eval_every: meta-steps between two validations, or None.
      eval_tasks: tasks per validation.
      test_tasks: tasks in the final measurement.
      metrics: metrics of the final measurement, ``{"name": fn(outputs, y, weight)}``; empty for the default ones of
        `evaluate`.
      beside: untrained learners by name, measured on the same tasks for comparison.
      allow_shared_classes: accept classes that are both trained and held out. Accuracy on them is no measure of how
        well new classes are learned.
      note: returns a remark about the data that is shown before training, or ``""``; it may read the data.
      recipe: the name or reference of the function that made this experiment, or None. A run writes it down, so that
        the experiment can be built again.
      arguments: the arguments of that function.
    """

    learner: MetaLearner
    optimizer: optax.GradientTransformation
    tasks: Callable[[str], Sampler | None]
    num_steps: int
    tasks_per_step: int
    published: str = ""
    step: Callable[..., Any] | None = None
    make_learner: Callable[..., MetaLearner] | None = None
    test_steps: tuple[int, ...] = ()
    chunk: int | Auto | None = "auto"
    log_every: int = 50
    eval_every: int | None = None
    eval_tasks: int = 256
    test_tasks: int = 1_000
    metrics: Mapping[str, Callable[..., jax.Array]] = MappingProxyType({})
    beside: Mapping[str, MetaLearner] = MappingProxyType({})
    allow_shared_classes: bool = False
    note: Callable[[], str] = lambda: ""
    recipe: str | None = None
    arguments: Mapping[str, Any] = MappingProxyType({})

    @property
    def train(self) -> Sampler:
        """The sampler of training tasks."""
        return self._must_have("train")

    @property
    def val(self) -> Sampler | None:
        """The sampler of validation tasks, or None."""
        return self.tasks("val")

    @property
    def test(self) -> Sampler:
        """The sampler of held-out tasks."""
        return self._must_have("test")

    @property
    def example(self) -> Task:
        """Return the shapes of a training task without drawing one."""
        return jax.eval_shape(self.train, jax.random.key(0))

    def prepare(self) -> Task:
        """Read the data of every split, so that errors in it are raised before training, and return `example`.

        Raises:
          ValueError: if classes that are trained on are held out too, and `allow_shared_classes` is False.
        """
        for split, sampler in (("val", self.val), ("test", self.test)):
            if sampler is not None and not self.allow_shared_classes:
                check_disjoint(self.train, sampler, split=split, allow="pass `allow_shared_classes=True`")
        return self.example

    def _must_have(self, split: str) -> Sampler:
        sampler = self.tasks(split)
        if sampler is None:
            raise ValueError(f"`tasks({split!r})` is None, but an experiment needs tasks of this split.")
        return sampler

    @property
    def headline(self) -> MetaLearner:
        """The learner of the headline figure: with the last of `test_steps`."""
        steps = self.test_steps[-1:] if self.make_learner else ()
        return self.make_learner(num_steps=steps[0]) if self.make_learner and steps else self.learner


def by_split(
    *, train: Callable[[], Sampler], test: Callable[[], Sampler], val: Callable[[], Sampler] | None = None
) -> Callable[[str], Sampler | None]:
    """Return a function from a split to its sampler, which is made once, at its first use.

    Example:
      >>> tasks = by_split(train=lambda: 1, test=lambda: 2)
      >>> tasks("train"), tasks("val"), tasks("test")
      (1, None, 2)
    """
    makers = {"train": train, "val": val or (lambda: None), "test": test}
    return cache(lambda split: makers[split]())


def by_steps(make: Callable[..., MetaLearner]) -> Callable[..., MetaLearner]:
    """Cache ``make`` by the number of steps, so that no learner is compiled twice.

    Example:
      >>> make = by_steps(lambda num_steps: object())
      >>> make(num_steps=3) is make(num_steps=3)
      True
    """
    once = cache(lambda num_steps: make(num_steps=num_steps))
    return lambda num_steps: once(num_steps)


def nearest_neighbour() -> MetaLearner:
    """Return a learner without parameters: a query gets the label of the support example with the nearest input.

    Example:
      >>> support = Batch(jnp.array([[0.0], [9.0]]), jnp.array([0, 1]), ways=jnp.ones(2, bool))
      >>> learner = nearest_neighbour()
      >>> learner.predict(Variables({}), learner.adapt(Variables({}), support), jnp.array([[7.0]])).argmax(-1).tolist()
      [1]
    """

    def init(key: Key, task: Task) -> Variables:
        return Variables({})

    def adapt(meta: Variables, support: Batch, key: Key | None = None) -> tuple[jax.Array, jax.Array]:
        if support.ways is None:
            raise ValueError("The number of ways is unknown: fill `Batch.ways`.")
        mine = jax.nn.one_hot(support.y, len(support.ways), dtype=bool)
        return support.x, mine if support.weight is None else mine & (support.weight[:, None] > 0)

    def predict(
        meta: Variables,
        adapted: tuple[jax.Array, jax.Array],
        x: PyTree,
        key: Key | None = None,
        *,
        weight: jax.Array | None = None,
    ) -> jax.Array:
        del weight  # no prediction depends on another query
        seen, mine = adapted
        distance = jnp.sum((x.reshape(len(x), -1)[:, None] - seen.reshape(len(seen), -1)[None]) ** 2, -1)
        return -jnp.min(jnp.where(mine[None], distance[..., None], jnp.finfo(distance.dtype).max), 1)

    def loss(meta: Variables, task: Task, key: Key | None = None) -> NoReturn:
        raise NotImplementedError("`nearest_neighbour` has no parameters to train.")

    return MetaLearner(init, adapt, predict, loss)
