"""What a recipe returns: an experiment as data, which the command line, a notebook or a benchmark runs."""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..types import Batch, MetaLearner, Sampler, Variables

Dtype = Literal["float32", "bfloat16"]


class Experiment(NamedTuple):
    """A learner, its tasks, and the protocol by which it is trained and measured.

    Attributes:
      learner: what is trained.
      optimizer: the outer optimizer.
      train: the sampler of training tasks.
      test: the sampler of held-out tasks.
      num_steps: meta-steps.
      tasks_per_step: tasks in a meta-batch.
      published: the paper's figure and protocol, in words.
      val: the sampler of validation tasks, or None.
      make_learner: ``(num_steps=k) -> MetaLearner`` for learners that adapt by steps, else None.
      test_steps: the inner steps at which the trained learner is measured; the last is the headline.
      chunk: tasks differentiated at a time, or None for all.
      cpu_chunk: the same on a CPU, where `chunk` is None: a single task's second derivatives stay in cache there.
      log_every: meta-steps between two rows of the log.
      eval_every: meta-steps between two validations, or None.
      eval_tasks: tasks per validation.
      test_tasks: tasks in the final measurement.
      beside: learners by name that are measured as they start, on the same tasks, to compare with.
    """

    learner: MetaLearner
    optimizer: optax.GradientTransformation
    train: Sampler
    test: Sampler
    num_steps: int
    tasks_per_step: int
    published: str
    val: Sampler | None = None
    make_learner: Callable[..., MetaLearner] | None = None
    test_steps: tuple[int, ...] = ()
    chunk: int | None = None
    cpu_chunk: int | None = None
    log_every: int = 50
    eval_every: int | None = None
    eval_tasks: int = 256
    test_tasks: int = 1_000
    beside: Mapping[str, MetaLearner] = MappingProxyType({})

    def chunk_on(self, platform: str) -> int | None:
        """Tasks differentiated at a time on ``"cpu"``, ``"tpu"`` ...

        Example:
          >>> from jaxmeta.recipes import glyphs_maml
          >>> glyphs_maml().chunk_on("cpu"), glyphs_maml().chunk_on("tpu")
          (1, None)
        """
        return self.cpu_chunk if platform == "cpu" and self.chunk is None else self.chunk


def by_steps(make: Callable[..., MetaLearner]) -> Callable[..., MetaLearner]:
    """``make``, returning one and the same learner for one number of steps: nothing compiles twice.

    Example:
      >>> make = by_steps(lambda num_steps: object())
      >>> make(num_steps=3) is make(num_steps=3)
      True
    """
    once = cache(lambda num_steps: make(num_steps=num_steps))
    return lambda num_steps: once(num_steps)


def compute_dtype(dtype: Dtype) -> Any:
    """What flax is told to compute in: nothing in particular for float32, so that float64 inputs stay what they are.

    Example:
      >>> compute_dtype("float32") is None
      True
    """
    return None if dtype == "float32" else jnp.dtype(dtype)


def nearest_neighbour() -> MetaLearner:
    """A query gets the label of the nearest support example in the inputs themselves: nothing is learned.

    Example:
      >>> support = Batch(jnp.array([[0.0], [9.0]]), jnp.array([0, 1]), ways=jnp.ones(2, bool))
      >>> learner = nearest_neighbour()
      >>> learner.predict(Variables({}), learner.adapt(Variables({}), support), jnp.array([[7.0]])).argmax(-1).tolist()
      [1]
    """

    def init(key, task):
        return Variables({})

    def adapt(meta: Variables, support: Batch, key=None) -> tuple[jax.Array, jax.Array]:
        if support.ways is None:
            raise ValueError("The number of ways is unknown: fill `Batch.ways`.")
        mine = jax.nn.one_hot(support.y, len(support.ways), dtype=bool)
        return support.x, mine if support.weight is None else mine & (support.weight[:, None] > 0)

    def predict(meta: Variables, adapted: tuple, x, key=None) -> jax.Array:
        seen, mine = adapted
        flat = lambda images: images.reshape(images.shape[0], -1)
        distance = jnp.sum((flat(x)[:, None] - flat(seen)[None]) ** 2, -1)
        return -jnp.min(jnp.where(mine[None], distance[..., None], jnp.finfo(distance.dtype).max), 1)

    def loss(meta, task, key=None):
        raise NotImplementedError("Nearest neighbours have nothing to train.")

    return MetaLearner(init, adapt, predict, loss)
