"""Settings that many recipes share, explained once, for recipes of your own too.

A recipe that has a parameter of such a type, with a default, has the fields of the dataclass as arguments and flags.

Example:
  >>> from jaxmeta.recipe import recipe
  >>> @recipe
  ... def mine(*, outer: Outer = Outer(num_steps=7)) -> jm.experiment.Experiment:
  ...     return jm.recipes.sinusoid_maml(num_steps=outer.num_steps)
  >>> mine().num_steps, mine(num_steps=9).num_steps
  (7, 9)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
import optax

import jaxmeta as jm

from .ranges import Count, Examples, InnerSteps, Positive, Tasks, Ways, Whole, Width
from .types import MetaLearner, Model

# Of the other algorithms that adapt by steps, reptile has no outer derivative, imaml differentiates where the steps end
# and not the steps, and the outer loss of maml_plus_plus looks at every one of them.
THROUGH_STEPS = ("maml", "fomaml", "anil", "boil", "meta_sgd", "lstm")


@dataclass(frozen=True)
class Outer:
    """The outer loop: how long it trains, how fast, and how the result is measured."""

    num_steps: Count = 1_000
    """meta-steps of training"""
    tasks_per_step: Tasks = 32
    """tasks in a meta-batch"""
    meta_lr: Positive = 1e-3
    """step size of the outer optimizer, at the start of training"""
    test_tasks: Tasks = 1_000
    """held-out tasks in the final measurement"""


@dataclass(frozen=True)
class Halving(Outer):
    """The outer loop of a step size that halves at fixed intervals."""

    halve_every: Count = 2_000
    """meta-steps after which the step size halves"""

    def rate(self) -> optax.Schedule:
        """Return the step size as a function of the meta-step."""
        return optax.exponential_decay(self.meta_lr, self.halve_every, 0.5, staircase=True)


@dataclass(frozen=True)
class Inner:
    """Adaptation by gradient steps."""

    inner_lr: Positive = 0.1
    """step size of adaptation"""
    num_inner_steps: InnerSteps = 5
    """steps of adaptation in training"""
    num_test_steps: InnerSteps = 10
    """steps of adaptation on held-out tasks"""

    @property
    def test_steps(self) -> tuple[int, ...]:
        """The numbers of steps that are measured; the larger is the headline."""
        return tuple(sorted({self.num_inner_steps, self.num_test_steps}))


@dataclass(frozen=True)
class Precision:
    """The precision of the network."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """dtype of the network's computation; parameters, statistics and losses stay float32. bfloat16 is for
    accelerators"""

    @property
    def module_dtype(self) -> Any:
        """The ``dtype`` of a flax module: None for float32, so that float64 inputs keep their dtype."""
        return None if self.dtype == "float32" else jnp.dtype(self.dtype)


@dataclass(frozen=True)
class Memory:
    """Memory against computation."""

    remat: Whole = 0
    """recompute inner steps in the backward pass, in groups of this size, to save memory; 0 recomputes nothing"""

    def applied(self, make: Callable[..., MetaLearner], algorithm: str) -> Callable[..., MetaLearner]:
        """Return the factory of an algorithm with this setting; factories of learners without steps stay the same.

        Raises:
          ValueError: if the meta-gradient of the algorithm passes through no inner steps that could be recomputed.
        """
        if algorithm in THROUGH_STEPS:
            return partial(make, remat=self.remat)
        if self.remat:
            raise ValueError(
                f"`remat` is {self.remat}, but the meta-gradient of {algorithm} does not pass through inner steps that "
                f"could be recomputed. Leave it out; it is for {', '.join(THROUGH_STEPS)}."
            )
        return make


@dataclass(frozen=True)
class Convolutions(Precision):
    """The network: four convolutions."""

    features: Width = 64
    """channels of the convolutions"""

    def conv4(self, num_outputs: int | None = None, **layers: Any) -> Any:
        """Return a `Conv4` with these channels."""
        return jm.backbones.Conv4(num_outputs=num_outputs, features=self.features, dtype=self.module_dtype, **layers)


@dataclass(frozen=True)
class Embedding(Convolutions):
    """The network: four max-pooled convolutions, whose output is an embedding."""

    norm: Literal["running", "support", "transductive"] = "running"
    """statistics of BatchNorm on held-out classes: running averages of training, those of the support set, or those of
    each batch"""

    def model(self, **layers: Any) -> Model:
        """Return the network as a model."""
        return jm.from_linen(self.conv4(pool="max", **layers), norm=self.norm)


@dataclass(frozen=True)
class Episodes:
    """The layout of a task."""

    num_ways: Ways = 5
    """classes per task"""
    num_shots: Examples = 1
    """support examples per class"""
    num_queries: Examples = 1
    """query examples per class, in training"""
    num_test_queries: Examples = 1
    """query examples per class, on held-out classes; where BatchNorm is transductive they share its statistics"""

    @property
    def size(self) -> str:
        """Ways and shots as in the names of rows, ``"5w1s"``."""
        return f"{self.num_ways}w{self.num_shots}s"

    def layout(self, *, held_out: bool = False, **changes: Any) -> dict[str, Any]:
        """Return the arguments of a sampler, in training or on held-out classes."""
        queries = self.num_test_queries if held_out else self.num_queries
        if (examples := self.num_ways * (self.num_shots + queries)) > 1_000_000:
            raise ValueError(
                f"a task would have {examples:,} examples, more than a million: lower `num_ways`, `num_shots`, "
                "`num_queries` or `num_test_queries`."
            )
        return {"num_ways": self.num_ways, "num_shots": self.num_shots, "num_queries": queries} | changes


@dataclass(frozen=True)
class Points:
    """The layout of a regression task."""

    num_shots: Examples = 10
    """support points, in training"""
    num_queries: Examples = 20
    """query points, in training"""
    num_test_shots: Examples = 10
    """support points, on held-out functions"""
    num_test_queries: Examples = 50
    """query points, on held-out functions"""

    def layout(self, *, held_out: bool = False) -> dict[str, int]:
        """Return the arguments of a sampler, in training or on held-out functions."""
        if held_out:
            return {"num_shots": self.num_test_shots, "num_queries": self.num_test_queries}
        return {"num_shots": self.num_shots, "num_queries": self.num_queries}
