"""Omniglot with prototypical networks: Snell, Swersky and Zemel, 2017, https://arxiv.org/abs/1703.05175."""

from typing import Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ._knobs import Dtype, compute_dtype
from ._omniglot import Resize, TrainSplit, omniglot_tasks
from ._published import figures, published, row

FIGURES = figures(
    {
        "omniglot_protonet_5w1s": "98.8",
        "omniglot_protonet_5w5s": "99.7",
        "omniglot_protonet_20w1s": "96.0",
        "omniglot_protonet_20w5s": "98.9",
    },
    "ProtoNet paper, table 1",
    num_tasks=1_000,
    norm="running",
)


def omniglot_protonet(
    *,
    data_dir: str | None = None,
    download: bool = False,
    resize: Resize = "nearest",
    train_split: TrainSplit = "trainval",
    num_steps: int = 20_000,
    num_train_ways: int = 60,
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 5,
    num_test_queries: int = 15,
    tasks_per_step: int = 1,
    features: int = 64,
    init: Literal["torch", "xavier"] = "torch",
    norm: Literal["running", "support", "transductive"] = "running",
    meta_lr: float = 1e-3,
    halve_every: int = 2_000,
    dtype: Dtype = "float32",
    test_tasks: int = 1_000,
) -> Experiment:
    """Prototypical networks on Omniglot.

    Four max-pooled convolutions of 64 filters, squared Euclidean distances; turned characters are further classes.
    Trained on 60 ways, and as many shots as in the test.

    Args:
      data_dir: folder with images_background.zip and images_evaluation.zip; by default the cache folder.
      download: fetch the zips (16 MB) if they are not there.
      resize: nearest is what the authors' code did (Pillow's default for 1-bit images); antialias is smoother.
      train_split: the published 1,200 training characters, or 1,028 of them with the other 172 for validation.
      num_steps: meta-steps of training; the authors stop when validation no longer improves.
      num_train_ways: classes per task, in training.
      num_ways: classes per task, on held-out characters.
      num_shots: support drawings per class.
      num_queries: query drawings per class, in training.
      num_test_queries: query drawings per class, on held-out characters.
      tasks_per_step: tasks in a meta-batch.
      features: channels of the four convolutions, and size of the embedding.
      init: torch is PyTorch's of the paper's time: kernels within 1 / sqrt(fan_in) of zero, BatchNorm's scales between
        0 and 1; xavier has larger kernels and scales of 1, and learned less in short runs.
      norm: statistics of BatchNorm on held-out characters: running averages of training as in the paper, those of the
        support set, or those of each batch.
      meta_lr: step size of the outer Adam, at its start.
      halve_every: meta-steps after which the step size halves.
      test_tasks: held-out tasks in the final measurement.
    """
    scales, how = "uniform" if init == "torch" else "ones", {"pool": "max", "dtype": compute_dtype(dtype)}
    net = jm.backbones.Conv4(features=features, kernel_init=init, scale_init=scales, **how)
    return Experiment(
        learner=jm.protonet(jm.from_linen(net, norm=norm)),
        optimizer=optax.adam(optax.exponential_decay(meta_lr, halve_every, 0.5, staircase=True)),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=20,
        test_tasks=test_tasks,
        published=published(FIGURES, f"omniglot_protonet_{num_ways}w{num_shots}s"),
        **omniglot_tasks(
            {"data_dir": data_dir, "resize": resize, "download": download},
            train_split,
            train={"num_ways": num_train_ways, "num_shots": num_shots, "num_queries": num_queries},
            test={"num_ways": num_ways, "num_shots": num_shots, "num_queries": num_test_queries},
            rotate="extra",
        ),
    )


def _row(ways: int, shots: int):
    name = f"omniglot_protonet_{ways}w{shots}s"
    title = f"{ways}-way {shots}-shot, trained on 60 ways"
    return name, row(omniglot_protonet, name, title, FIGURES[name], num_ways=ways, num_shots=shots)


ROWS = dict(_row(ways, shots) for ways in (5, 20) for shots in (1, 5))
TRAINED_AS = {f"omniglot_protonet_20w{shots}s": f"omniglot_protonet_5w{shots}s" for shots in (1, 5)}
