"""jaxmeta: meta-learning in JAX. Pure functions that learn to learn, batched over tasks.

The public names, in reading order. `backbones` and `recipes` need flax and load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import algorithms, datasets, inner, losses, ops, rules, tasks
from .algorithms import (
    anil,
    boil,
    learned_optimizer,
    lstm,
    maml,
    mann,
    meta_sgd,
    neural_process,
    protonet,
    reptile,
    snail,
)
from .evaluation import adaptation_curve, evaluate, evaluate_seeds, task_metrics
from .fit import Diverged, EarlyStopping, Progress, fit
from .learner import Adapted, episodic
from .models import from_functions, from_linen, from_nnx, identity
from .step import backprop, init, meta_step
from .types import Aux, Batch, ClassSet, Estimate, MetaLearner, MetaState, Model, Sampler, Task, Variables

if TYPE_CHECKING:
    from . import backbones, checkpoint, plots, recipes

__version__ = "0.1.0"

__all__ = [
    "Batch", "Task", "Variables", "Model", "MetaLearner", "Aux", "MetaState", "Estimate", "Sampler", "ClassSet",
    "from_linen", "from_nnx", "from_functions", "identity", "backbones", "losses", "inner", "rules",
    "maml", "anil", "boil", "reptile", "meta_sgd", "protonet",
    "lstm", "mann", "snail", "neural_process", "learned_optimizer", "episodic", "Adapted",
    "tasks", "datasets",
    "init", "meta_step", "backprop", "fit", "Progress", "EarlyStopping", "Diverged",
    "evaluate", "evaluate_seeds", "task_metrics", "adaptation_curve",
    "algorithms", "recipes", "checkpoint", "plots", "ops",
]  # fmt: skip

_LAZY = ("backbones", "recipes", "checkpoint", "plots")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'jaxmeta' has no attribute {name!r}")
