"""Omniglot with relation networks: Sung et al., 2018, https://arxiv.org/abs/1711.06025, and its code."""

from typing import Any

import optax
from flax import linen

import jaxmeta as jm

from ..experiment import Experiment
from ..ops import max_pool
from ._knobs import Dtype, compute_dtype
from ._omniglot import Resize, TrainSplit, omniglot_tasks
from ._published import figures, published, row

FIGURES = figures(
    {
        "omniglot_relation_5w1s": "99.6 ± 0.2",
        "omniglot_relation_5w5s": "99.8 ± 0.1",
        "omniglot_relation_20w1s": "97.6 ± 0.2",
        "omniglot_relation_20w5s": "99.1 ± 0.1",
    },
    "relation networks paper",
    norm="transductive",
    known="quoted",
)


def omniglot_relation(
    *,
    data_dir: str | None = None,
    download: bool = False,
    resize: Resize = "nearest",
    train_split: TrainSplit = "trainval",
    num_steps: int = 1_000_000,
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 19,
    num_test_queries: int = 19,
    tasks_per_step: int = 1,
    features: int = 64,
    meta_lr: float = 1e-3,
    halve_every: int = 100_000,
    max_grad_norm: float = 0.5,
    dtype: Dtype = "float32",
    test_tasks: int = 1_000,
) -> Experiment:
    """Relation networks on Omniglot.

    Four convolutions make maps, of which the first two are pooled; two pooled convolutions and two dense layers judge
    a class's map, the sum over its shots, beside a query's. Squared errors of the scores; BatchNorm has the statistics
    of each batch. Each character of a task is turned by its own multiple of 90 degrees, where the authors' code turns
    a whole task.

    Args:
      data_dir: folder with images_background.zip and images_evaluation.zip; by default the cache folder.
      download: fetch the zips (16 MB) if they are not there.
      resize: nearest keeps the drawings black and white; antialias is smoother.
      train_split: the published 1,200 training characters, or 1,028 of them with the other 172 for validation.
      num_steps: meta-steps of training.
      num_ways: classes per task.
      num_shots: support drawings per class.
      num_queries: query drawings per class, in training.
      num_test_queries: query drawings per class, on held-out characters; they share BatchNorm statistics.
      tasks_per_step: tasks in a meta-batch.
      features: channels of all convolutions.
      meta_lr: step size of the outer Adam, at its start.
      halve_every: meta-steps after which the step size halves.
      max_grad_norm: largest norm of a meta-gradient.
      test_tasks: held-out tasks in the final measurement.
    """
    options = {"features": features, "dtype": compute_dtype(dtype)}
    model, module = jm.from_linen(Maps(**options)), jm.from_linen(Judge(**options))
    schedule = optax.exponential_decay(meta_lr, halve_every, 0.5, staircase=True)
    layout = {"num_ways": num_ways, "num_shots": num_shots}
    return Experiment(
        learner=jm.relation(model, module=module, class_feature="sum"),
        optimizer=optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(schedule)),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=100,
        test_tasks=test_tasks,
        published=published(FIGURES, f"omniglot_relation_{num_ways}w{num_shots}s"),
        **omniglot_tasks(
            {"data_dir": data_dir, "resize": resize, "download": download},
            train_split,
            train=layout | {"num_queries": num_queries},
            test=layout | {"num_queries": num_test_queries},
            rotate="draw",
        ),
    )


class Maps(linen.Module):
    """The embedding, images ``[N, 28, 28, 1]`` to maps ``[N, 5, 5, features]``."""

    features: int
    dtype: Any = None

    @linen.compact
    def __call__(self, x):
        for padding, shrink in (("VALID", max_pool), ("VALID", max_pool), ("SAME", _keep), ("SAME", _keep)):
            x = shrink(_block(x, self.features, padding, self.dtype))
        return x


class Judge(linen.Module):
    """Pairs of maps ``[P, 5, 5, 2 * features]`` to scores ``[P, 1]``."""

    features: int
    dtype: Any = None

    @linen.compact
    def __call__(self, x):
        for _ in range(2):
            x = max_pool(_block(x, self.features, "SAME", self.dtype))
        x = linen.relu(linen.Dense(8, dtype=self.dtype)(x.reshape(x.shape[0], -1)))
        return linen.Dense(1, dtype=self.dtype)(x)


def _block(x, features: int, padding: str, dtype: Any):
    x = linen.Conv(features, (3, 3), padding=padding, use_bias=False, dtype=dtype)(x)
    return linen.relu(linen.BatchNorm(dtype=dtype)(x))


def _keep(x):
    return x


QUERIES = {(5, 1): 19, (5, 5): 15, (20, 1): 10, (20, 5): 5}  # per class, so that a step's pairs stay few


def _row(ways: int, shots: int):
    name, queries = f"omniglot_relation_{ways}w{shots}s", QUERIES[ways, shots]
    layout = {"num_ways": ways, "num_shots": shots, "num_queries": queries, "num_test_queries": queries}
    return name, row(omniglot_relation, name, f"{ways}-way {shots}-shot", FIGURES[name], **layout)


ROWS = dict(_row(ways, shots) for ways in (5, 20) for shots in (1, 5))
