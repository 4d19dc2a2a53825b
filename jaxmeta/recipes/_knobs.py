"""Knobs of the computation that mean the same in every recipe: explained here, once, for Python and the command line.

What any learner has, tasks at a time, devices, steps that are averaged, `fit` takes, and any ``jaxmeta train``.
"""

from typing import Annotated, Any, Literal

import jax.numpy as jnp
from typing_extensions import Doc

Dtype = Annotated[
    Literal["float32", "bfloat16"],
    Doc("of the network's computation; parameters, statistics and losses stay float32. bfloat16 is for accelerators."),
]
Remat = Annotated[
    int,
    Doc("recompute inner steps in the backward pass, in groups of so many, which saves memory; 0 keeps what it needs."),
]

# Of the others that adapt by steps, reptile has no outer derivative, imaml differentiates where the steps end and not
# the steps, and the outer loss of maml_plus_plus looks at every one of them.
THROUGH_STEPS = ("maml", "fomaml", "anil", "boil", "meta_sgd", "lstm")


def compute_dtype(dtype: Dtype) -> Any:
    """What flax is told to compute in: nothing in particular for float32, so that float64 inputs stay what they are.

    Example:
      >>> compute_dtype("float32") is None
      True
    """
    return None if dtype == "float32" else jnp.dtype(dtype)


def recomputing(remat: int, algorithm: str) -> dict[str, int]:
    """The argument of a learner whose meta-gradient passes through its inner steps; others take none.

    Raises:
      ValueError: if another is asked to recompute.

    Example:
      >>> recomputing(2, "maml"), recomputing(0, "protonet")
      ({'remat': 2}, {})
    """
    if algorithm in THROUGH_STEPS:
        return {"remat": remat}
    if remat:
        raise ValueError(
            f"`remat` is {remat}, but the meta-gradient of {algorithm} does not pass through inner steps that could be "
            f"recomputed. Leave it out; it is for {', '.join(THROUGH_STEPS)}."
        )
    return {}
