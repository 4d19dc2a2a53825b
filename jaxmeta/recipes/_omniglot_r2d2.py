"""Omniglot with R2-D2: Bertinetto, Henriques, Torr and Vedaldi, 2019, https://arxiv.org/abs/1805.08136."""

from typing import Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ._knobs import Dtype, compute_dtype
from ._omniglot import Resize, TrainSplit, omniglot_tasks
from ._published import figures, published, row

FIGURES = figures(
    {
        "omniglot_r2d2_5w1s": "98.9",
        "omniglot_r2d2_5w5s": "99.7",
        "omniglot_r2d2_20w1s": "96.2",
        "omniglot_r2d2_20w5s": "99.2",
    },
    "R2-D2 paper",
    num_tasks=10_000,
    known="memory",
)


def omniglot_r2d2(
    *,
    data_dir: str | None = None,
    download: bool = False,
    resize: Resize = "nearest",
    train_split: TrainSplit = "trainval",
    num_steps: int = 20_000,
    num_train_ways: int = 60,
    max_train_shots: int = 5,
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 5,
    num_test_queries: int = 15,
    tasks_per_step: int = 1,
    features: int = 64,
    init_lambda: float = 1.0,
    init_scale: float = 10.0,
    norm: Literal["running", "support", "transductive"] = "running",
    meta_lr: float = 5e-3,
    halve_every: int = 2_000,
    dtype: Dtype = "float32",
    test_tasks: int = 10_000,
) -> Experiment:
    """R2-D2 on Omniglot.

    Four max-pooled convolutions of 64 filters, ridge regression on their output; turned characters are further
    classes. Trained on 60 ways and any number of shots, the same for all rows: in the authors' code 1 to 10 shots and
    600 drawings in all, here 1 to 5 shots and five queries, which are 600 at most. The strength of the ridge is learned
    here; in the code it stays 50, on thousands of features.

    Args:
      data_dir: folder with images_background.zip and images_evaluation.zip; by default the cache folder.
      download: fetch the zips (16 MB) if they are not there.
      resize: nearest keeps the drawings black and white; antialias is smoother.
      train_split: the published 1,200 training characters, or 1,028 of them with the other 172 for validation.
      num_steps: meta-steps of training.
      num_train_ways: classes per task, in training.
      max_train_shots: most support drawings per class, in training; from 1 to so many are drawn for each task.
      num_ways: classes per task, on held-out characters.
      num_shots: support drawings per class, on held-out characters.
      num_queries: query drawings per class, in training.
      num_test_queries: query drawings per class, on held-out characters.
      tasks_per_step: tasks in a meta-batch.
      features: channels of the four convolutions, and size of the embedding.
      init_lambda: strength of the ridge, at the start of training.
      init_scale: of the outputs, at the start of training.
      norm: statistics of BatchNorm on held-out characters: running averages of training, those of the support set, or
        those of each batch.
      meta_lr: step size of the outer Adam, at its start.
      halve_every: meta-steps after which the step size halves.
      test_tasks: held-out tasks in the final measurement.
    """
    net = jm.backbones.Conv4(features=features, pool="max", dtype=compute_dtype(dtype))
    return Experiment(
        learner=jm.r2d2(jm.from_linen(net, norm=norm), init_lambda=init_lambda, init_scale=init_scale),
        optimizer=optax.adam(optax.exponential_decay(meta_lr, halve_every, 0.5, staircase=True)),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=20,
        test_tasks=test_tasks,
        published=published(FIGURES, f"omniglot_r2d2_{num_ways}w{num_shots}s"),
        **omniglot_tasks(
            {"data_dir": data_dir, "resize": resize, "download": download},
            train_split,
            train={"num_ways": num_train_ways, "num_shots": (1, max_train_shots), "num_queries": num_queries},
            test={"num_ways": num_ways, "num_shots": num_shots, "num_queries": num_test_queries},
            rotate="extra",
        ),
    )


def _row(ways: int, shots: int):
    name = f"omniglot_r2d2_{ways}w{shots}s"
    layout = {"num_ways": ways, "num_shots": shots}
    return name, row(omniglot_r2d2, name, f"{ways}-way {shots}-shot, trained on 60 ways", FIGURES[name], **layout)


ROWS = dict(_row(ways, shots) for ways in (5, 20) for shots in (1, 5))
TRAINED_AS = {name: "omniglot_r2d2_5w1s" for name in ROWS if name != "omniglot_r2d2_5w1s"}
