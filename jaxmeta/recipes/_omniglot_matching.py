"""Omniglot with matching networks: Vinyals et al., 2016, https://arxiv.org/abs/1606.04080, table 1."""

from typing import Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ._knobs import Dtype, compute_dtype
from ._omniglot import Resize, TrainSplit, omniglot_tasks
from ._published import figures, published, row

FIGURES = figures(
    {
        "omniglot_matching_5w1s": "98.1",
        "omniglot_matching_5w5s": "98.9",
        "omniglot_matching_20w1s": "93.8",
        "omniglot_matching_20w5s": "98.5",
    },
    "table 1 of the MAML and ProtoNet papers",
    known="quoted",
)


def omniglot_matching(
    *,
    data_dir: str | None = None,
    download: bool = False,
    resize: Resize = "nearest",
    train_split: TrainSplit = "trainval",
    num_steps: int = 40_000,
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 5,
    num_test_queries: int = 15,
    tasks_per_step: int = 8,
    features: int = 64,
    full_context: bool = False,
    scale: float = 10.0,
    norm: Literal["running", "support", "transductive"] = "running",
    meta_lr: float = 1e-3,
    halve_every: int = 5_000,
    dtype: Dtype = "float32",
    test_tasks: int = 1_000,
) -> Experiment:
    """Matching networks on Omniglot.

    Four max-pooled convolutions of 64 filters, attention over cosine similarities; turned characters are further
    classes, and training has the ways and shots of the test. The paper has the network and the figures; queries,
    rates and lengths are this recipe's own.

    Args:
      data_dir: folder with images_background.zip and images_evaluation.zip; by default the cache folder.
      download: fetch the zips (16 MB) if they are not there.
      resize: nearest keeps the drawings black and white; antialias is smoother.
      train_split: the published 1,200 training characters, or 1,028 of them with the other 172 for validation.
      num_steps: meta-steps of training.
      num_ways: classes per task.
      num_shots: support drawings per class.
      num_queries: query drawings per class, in training.
      num_test_queries: query drawings per class, on held-out characters.
      tasks_per_step: tasks in a meta-batch.
      features: channels of the four convolutions, and size of the embedding.
      full_context: embed every drawing in the context of the support set, by recurrent networks.
      scale: of the similarities; 1 in the paper, where no class can then be much likelier than another.
      norm: statistics of BatchNorm on held-out characters: running averages of training, those of the support set, or
        those of each batch.
      meta_lr: step size of the outer Adam, at its start.
      halve_every: meta-steps after which the step size halves.
      test_tasks: held-out tasks in the final measurement.
    """
    net = jm.backbones.Conv4(features=features, pool="max", dtype=compute_dtype(dtype))
    layout = {"num_ways": num_ways, "num_shots": num_shots}
    return Experiment(
        learner=jm.matching(jm.from_linen(net, norm=norm), full_context=full_context, scale=scale),
        optimizer=optax.adam(optax.exponential_decay(meta_lr, halve_every, 0.5, staircase=True)),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=50,
        test_tasks=test_tasks,
        published=published(FIGURES, f"omniglot_matching_{num_ways}w{num_shots}s"),
        **omniglot_tasks(
            {"data_dir": data_dir, "resize": resize, "download": download},
            train_split,
            train=layout | {"num_queries": num_queries},
            test=layout | {"num_queries": num_test_queries},
            rotate="extra",
        ),
    )


def _row(ways: int, shots: int):
    name = f"omniglot_matching_{ways}w{shots}s"
    layout = {"num_ways": ways, "num_shots": shots}
    return name, row(omniglot_matching, name, f"{ways}-way {shots}-shot", FIGURES[name], **layout)


ROWS = dict(_row(ways, shots) for ways in (5, 20) for shots in (1, 5))
