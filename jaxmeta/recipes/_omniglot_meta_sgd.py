"""Omniglot with Meta-SGD: Li, Zhou, Chen and Li, 2017, https://arxiv.org/abs/1707.09835."""

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ._knobs import Dtype, Remat, compute_dtype
from ._omniglot import Resize, TrainSplit, omniglot_tasks
from ._published import figures, published, row

FIGURES = {
    **figures(
        {"omniglot_meta_sgd_5w1s": "99.53 ± 0.26", "omniglot_meta_sgd_5w5s": "99.93 ± 0.09"},
        "Meta-SGD paper",
        known="quoted",
    ),
    **figures(
        {"omniglot_meta_sgd_20w1s": "95.93 ± 0.38", "omniglot_meta_sgd_20w5s": "98.97 ± 0.19"},
        "Meta-SGD paper",
        known="memory",
    ),
}


def omniglot_meta_sgd(
    *,
    data_dir: str | None = None,
    download: bool = False,
    resize: Resize = "nearest",
    train_split: TrainSplit = "trainval",
    num_steps: int = 60_000,
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 1,
    num_test_queries: int = 1,
    tasks_per_step: int = 32,
    features: int = 64,
    min_init_lr: float = 0.005,
    max_init_lr: float = 0.1,
    num_inner_steps: int = 1,
    meta_lr: float = 1e-3,
    remat: Remat = 0,
    dtype: Dtype = "float32",
    test_tasks: int = 1_000,
) -> Experiment:
    """Meta-SGD on Omniglot.

    The network, tasks and lengths of MAML: four stride-2 convolutions of 64 filters and a mean over the last map,
    statistics of each batch, characters turned by a multiple of 90 degrees drawn in every task. One step inside, whose
    rates are learned from where the paper draws them.

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
      features: channels of the four convolutions.
      min_init_lr: least of the rates at the start of training.
      max_init_lr: largest of the rates at the start of training.
      num_inner_steps: steps of adaptation.
      meta_lr: step size of the outer Adam.
      test_tasks: held-out tasks in the final measurement.
    """
    net = jm.backbones.Conv4(num_outputs=num_ways, features=features, dtype=compute_dtype(dtype))
    options = {"init_lr": (min_init_lr, max_init_lr), "num_steps": num_inner_steps, "remat": remat}
    layout = {"num_ways": num_ways, "num_shots": num_shots}
    return Experiment(
        learner=jm.meta_sgd(jm.from_linen(net), jm.losses.cross_entropy, **options),
        cpu_chunk=1,
        optimizer=optax.adam(meta_lr),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=50,
        test_tasks=test_tasks,
        published=published(FIGURES, f"omniglot_meta_sgd_{num_ways}w{num_shots}s"),
        **omniglot_tasks(
            {"data_dir": data_dir, "resize": resize, "download": download},
            train_split,
            train=layout | {"num_queries": num_queries},
            test=layout | {"num_queries": num_test_queries},
            rotate="draw",
        ),
    )


def _row(ways: int, shots: int):
    name = f"omniglot_meta_sgd_{ways}w{shots}s"
    layout = {"num_ways": ways, "num_shots": shots, "num_queries": shots, "num_test_queries": shots}
    size = {"tasks_per_step": 16} if ways == 20 else {}
    return name, row(omniglot_meta_sgd, name, f"{ways}-way {shots}-shot", FIGURES[name], **layout, **size)


ROWS = dict(_row(ways, shots) for ways in (5, 20) for shots in (1, 5))
