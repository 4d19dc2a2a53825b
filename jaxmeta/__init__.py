"""jaxmeta: meta-learning in JAX. Pure functions that learn to learn, batched over tasks.

The public names, in reading order. `backbones`, `pretrained` and `recipes` need flax and load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import algorithms, attacks, callbacks, datasets, implicit, inner, losses, ops, parallel, tasks, update_rules
from .algorithms import *
from .algorithms import centre_features
from .callbacks import EarlyStopping, Progress
from .domains import average_ranks, evaluate_domains
from .evaluation import (
    adaptation_curve,
    evaluate,
    evaluate_seeds,
    robust_accuracy,
    task_metrics,
)
from .fit import Diverged, Profile, fit
from .forgetting import Forgetting, forgetting_curve
from .learner import Adapted, episodic
from .models import feature_wise, from_functions, from_linen, from_nnx, identity, inductive, lora, merge_lora
from .prefetch import feed
from .step import backprop, init, meta_step
from .types import Aux, Batch, ClassSet, Estimate, MetaLearner, MetaState, Model, Sampler, Task, Variables

if TYPE_CHECKING:
    from . import backbones, checkpoint, planning, plots, pretrained, recipes, rl, runs, testing
    from .estimator import FewShotClassifier, FewShotRegressor, Recommender

__version__ = "0.1.0"

__all__ = [
    "Batch", "Task", "Variables", "Model", "MetaLearner", "Aux", "MetaState", "Estimate", "Sampler", "ClassSet",
    "from_linen", "from_nnx", "from_functions", "identity", "inductive", "backbones", "pretrained",
    "lora", "merge_lora", "feature_wise",
    "losses", "inner", "implicit", "update_rules",
    "episodic", "Adapted", "centre_features",
    "tasks", "datasets",
    "init", "meta_step", "backprop", "fit", "feed", "Progress", "Profile", "EarlyStopping", "Diverged", "callbacks",
    "evaluate", "evaluate_seeds", "task_metrics", "adaptation_curve",
    "evaluate_domains", "average_ranks", "robust_accuracy", "forgetting_curve", "Forgetting",
    "FewShotClassifier", "FewShotRegressor", "Recommender",
    "algorithms", "attacks", "parallel", "planning", "recipes", "checkpoint", "plots", "ops", "rl", "runs", "testing",
]  # fmt: skip
__all__ += algorithms.__all__

_LAZY = ("backbones", "recipes", "checkpoint", "planning", "plots", "pretrained", "rl", "runs", "testing")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_module(f".{name}", __name__)
    if name in ("FewShotClassifier", "FewShotRegressor", "Recommender"):
        return getattr(import_module(".estimator", __name__), name)
    raise AttributeError(f"module 'jaxmeta' has no attribute {name!r}")
