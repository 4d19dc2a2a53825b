"""Omniglot with Reptile: Nichol, Achiam and Schulman, 2018, https://arxiv.org/abs/1803.02999, and its code."""

from typing import Any, Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_steps
from ._knobs import Dtype, compute_dtype
from ._omniglot import Resize, TrainSplit, omniglot_tasks
from ._published import figures, published, row

_SOURCE = "Reptile paper"
FIGURES = {
    **figures(
        {
            "omniglot_reptile_5w1s": "95.39 ± 0.09",
            "omniglot_reptile_5w5s": "98.90 ± 0.10",
            "omniglot_reptile_20w1s": "88.14 ± 0.15",
            "omniglot_reptile_20w5s": "96.65 ± 0.33",
        },
        _SOURCE,
        num_tasks=10_000,
        norm="support",
        known="quoted",
    ),
    **figures(
        {
            "omniglot_reptile_transductive_5w1s": "97.68 ± 0.04",
            "omniglot_reptile_transductive_5w5s": "99.48 ± 0.06",
            "omniglot_reptile_transductive_20w1s": "89.43 ± 0.14",
            "omniglot_reptile_transductive_20w5s": "97.12 ± 0.32",
        },
        _SOURCE,
        num_tasks=10_000,
        norm="transductive",
        known="quoted",
    ),
}


def omniglot_reptile(
    *,
    data_dir: str | None = None,
    download: bool = False,
    resize: Resize = "nearest",
    train_split: TrainSplit = "trainval",
    num_steps: int = 100_000,
    num_ways: int = 5,
    num_shots: int = 1,
    num_train_shots: int = 10,
    num_test_queries: int = 1,
    tasks_per_step: int = 5,
    features: int = 64,
    norm: Literal["support", "transductive"] = "support",
    inner_lr: float = 1e-3,
    num_inner_steps: int = 5,
    batch_size: int = 10,
    num_test_steps: int = 50,
    test_batch_size: int = 5,
    meta_lr: float = 1.0,
    dtype: Dtype = "float32",
    test_tasks: int = 10_000,
) -> Experiment:
    """Reptile on Omniglot.

    Four stride-2 convolutions of 64 filters. Inside Adam without momentum, on mini-batches of ten drawings of each
    class; outside a step that falls from all of the way to none. Turned characters are further classes in training,
    held-out characters are not turned. Three differences from the authors' code: Adam's second moments start anew in
    every task instead of going from task to task; without transduction a query is normalised with the statistics of
    the support set instead of those of the support set and itself; ink is 1 on paper 0 instead of the reverse.
    No outer derivative passes through the steps, so there are none to recompute (no --remat).

    Args:
      data_dir: folder with images_background.zip and images_evaluation.zip; by default the cache folder.
      download: fetch the zips (16 MB) if they are not there.
      resize: nearest keeps the drawings black and white; antialias is smoother.
      train_split: the published 1,200 training characters, or 1,028 of them with the other 172 for validation.
      num_steps: meta-steps of training.
      num_ways: classes per task.
      num_shots: support drawings per class, on held-out characters.
      num_train_shots: support drawings per class, in training.
      num_test_queries: query drawings per class, on held-out characters.
      tasks_per_step: tasks in a meta-batch.
      features: channels of the four convolutions.
      norm: statistics of BatchNorm for queries: those of the support set, or those of the queries (transduction).
        Training is the same.
      inner_lr: step size of the inner Adam.
      num_inner_steps: steps of adaptation in training.
      batch_size: drawings of a mini-batch, in training.
      num_test_steps: steps of adaptation on held-out characters.
      test_batch_size: drawings of a mini-batch, on held-out characters.
      meta_lr: share of the way to the adapted parameters that the initialisation goes, at the start of training.
      test_tasks: held-out tasks in the final measurement.
    """
    net = jm.backbones.Conv4(num_outputs=num_ways, features=features, dtype=compute_dtype(dtype))
    options: dict[str, Any] = {"inner_optimizer": jm.inner.adam(inner_lr, b1=0.0)}
    model = jm.from_linen(net, norm=norm)

    def make(num_steps: int, batch_size: int = test_batch_size) -> jm.MetaLearner:
        return jm.reptile(model, jm.losses.cross_entropy, num_steps=num_steps, batch_size=batch_size, **options)

    layout = {"num_ways": num_ways, "num_queries": num_test_queries}
    name = f"omniglot_reptile{'_transductive' * (norm == 'transductive')}_{num_ways}w{num_shots}s"
    return Experiment(
        learner=make(num_inner_steps, batch_size),
        make_learner=by_steps(make),
        test_steps=(num_test_steps,),
        cpu_chunk=1,
        optimizer=optax.sgd(optax.linear_schedule(meta_lr, 0.0, num_steps)),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=50,
        test_tasks=test_tasks,
        published=published(FIGURES, name),
        **omniglot_tasks(
            {"data_dir": data_dir, "resize": resize, "download": download},
            train_split,
            train=layout | {"num_shots": num_train_shots},
            test=layout | {"num_shots": num_shots},
            rotate="extra",
            test_rotate=None,
        ),
    )


def _row(variant: str, title: str, ways: int, shots: int, **defaults: Any):
    name = f"omniglot_{variant}_{ways}w{shots}s"
    twenty = {"num_steps": 200_000, "inner_lr": 5e-4, "num_inner_steps": 10, "batch_size": 20, "test_batch_size": 10}
    layout = {"num_ways": ways, "num_shots": shots, **(twenty if ways == 20 else {})}
    return name, row(omniglot_reptile, name, f"{title}{ways}-way {shots}-shot", FIGURES[name], **layout, **defaults)


_SIZES = [(ways, shots) for ways in (5, 20) for shots in (1, 5)]
ROWS = dict(
    [
        *[_row("reptile", "", *size) for size in _SIZES],
        *[_row("reptile_transductive", "with transduction, ", *size, norm="transductive") for size in _SIZES],
    ]
)
TRAINED_AS = {name: f"omniglot_reptile_{ways}w1s" for ways in (5, 20) for name in ROWS
              if f"_{ways}w" in name and name != f"omniglot_reptile_{ways}w1s"}  # fmt: skip
