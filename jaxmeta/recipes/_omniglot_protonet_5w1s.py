"""Omniglot with prototypical networks, 5-way 1-shot: Snell, Swersky and Zemel, 2017, https://arxiv.org/abs/1703.05175."""

from typing import Literal

import optax

import jaxmeta as jm

from ._experiment import Experiment, by_split


def omniglot_protonet_5w1s(
    *,
    data_dir: str | None = None,
    download: bool = False,
    resize: Literal["nearest", "antialias"] = "nearest",
    train_split: Literal["trainval", "train"] = "trainval",
    num_steps: int = 20_000,
    num_train_ways: int = 60,
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 5,
    num_test_queries: int = 15,
    tasks_per_step: int = 1,
    features: int = 64,
    norm: Literal["running", "support", "transductive"] = "running",
    meta_lr: float = 1e-3,
    halve_every: int = 2_000,
    test_tasks: int = 1_000,
) -> Experiment:
    """Prototypical networks on Omniglot, 5-way 1-shot, trained on 60 ways. Published: 98.8 %.

    Four max-pooled convolutions of 64 filters, squared Euclidean distances; turned characters are further classes.

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
      norm: statistics of BatchNorm on held-out characters: running averages of training as in the paper, those of the
        support set, or those of each batch.
      meta_lr: step size of the outer Adam, at its start.
      halve_every: meta-steps after which the step size halves.
      test_tasks: held-out tasks in the final measurement.
    """
    model = jm.from_linen(jm.backbones.Conv4(features=features, pool="max"), norm=norm)

    def tasks(split: str, num_ways: int, num_queries: int):
        data = jm.datasets.omniglot(split, data_dir=data_dir, resize=resize, download=download)
        return jm.tasks.episodes(data, num_ways=num_ways, num_shots=num_shots, num_queries=num_queries, rotate="extra")

    return Experiment(
        learner=jm.protonet(model),
        optimizer=optax.adam(optax.exponential_decay(meta_lr, halve_every, 0.5, staircase=True)),
        tasks=by_split(
            train=lambda: tasks(train_split, num_train_ways, num_queries),
            val=(lambda: tasks("val", num_ways, num_test_queries)) if train_split == "train" else None,
            test=lambda: tasks("test", num_ways, num_test_queries),
        ),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=20,
        eval_every=1_000 if train_split == "train" else None,
        test_tasks=test_tasks,
        published="98.8 % (1,000 tasks; BatchNorm with running averages; ProtoNet paper, table 1)",
    )
