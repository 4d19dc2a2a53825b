"""Omniglot with MAML++: Antoniou, Edwards and Storkey, 2019, https://arxiv.org/abs/1810.09502, and its code."""

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ._knobs import Dtype, compute_dtype
from ._omniglot import Resize, TrainSplit, omniglot_tasks
from ._published import figures, published, row

FIGURES = {
    **figures(
        {"omniglot_maml_plus_plus_5w1s": "99.47", "omniglot_maml_plus_plus_5w5s": "99.93"},
        "MAML++ paper",
        num_tasks=600,
        known="quoted",
    ),
    **figures(
        {"omniglot_maml_plus_plus_20w1s": "97.65 ± 0.05", "omniglot_maml_plus_plus_20w5s": "99.33 ± 0.03"},
        "MAML++ paper",
        num_tasks=600,
        known="memory",
    ),
}


def omniglot_maml_plus_plus(
    *,
    data_dir: str | None = None,
    download: bool = False,
    resize: Resize = "nearest",
    train_split: TrainSplit = "trainval",
    num_steps: int = 50_000,
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 1,
    num_test_queries: int = 1,
    tasks_per_step: int = 8,
    features: int = 64,
    inner_lr: float = 0.1,
    num_inner_steps: int = 5,
    multi_step_until: int = 5_000,
    meta_lr: float = 1e-3,
    dtype: Dtype = "float32",
    test_tasks: int = 600,
) -> Experiment:
    """MAML++ on Omniglot.

    Four max-pooled convolutions of 64 filters; every inner step has learned rates and its own BatchNorm, and counts in
    the loss for the first ten of a hundred epochs; the outer rate falls by a cosine to a hundredth. Turned characters
    are further classes. The authors average the predictions of the five best epochs and hold out 50 characters for
    choosing them; here one network is measured, the last. Their interval is over queries and not over tasks.
    The loss looks at every step, so none is forgotten and recomputed (no --remat).

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
      features: channels of the four convolutions.
      inner_lr: where every learned rate starts.
      num_inner_steps: steps of adaptation.
      multi_step_until: the meta-step from which only the last inner step counts in the loss.
      meta_lr: step size of the outer Adam, at its start.
      test_tasks: held-out tasks in the final measurement.
    """
    net = jm.backbones.Conv4(num_outputs=num_ways, features=features, pool="max", dtype=compute_dtype(dtype))
    options = {"inner_lr": inner_lr, "num_steps": num_inner_steps, "multi_step_until": multi_step_until}
    layout = {"num_ways": num_ways, "num_shots": num_shots}
    return Experiment(
        learner=jm.maml_plus_plus(jm.from_linen(net, norm="running"), jm.losses.cross_entropy, **options),
        cpu_chunk=1,
        optimizer=optax.adam(optax.cosine_decay_schedule(meta_lr, num_steps, alpha=0.01)),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=50,
        test_tasks=test_tasks,
        published=published(FIGURES, f"omniglot_maml_plus_plus_{num_ways}w{num_shots}s"),
        **omniglot_tasks(
            {"data_dir": data_dir, "resize": resize, "download": download},
            train_split,
            train=layout | {"num_queries": num_queries},
            test=layout | {"num_queries": num_test_queries},
            rotate="extra",
        ),
    )


def _row(ways: int, shots: int):
    name = f"omniglot_maml_plus_plus_{ways}w{shots}s"
    layout = {"num_ways": ways, "num_shots": shots}
    return name, row(omniglot_maml_plus_plus, name, f"{ways}-way {shots}-shot", FIGURES[name], **layout)


ROWS = dict(_row(ways, shots) for ways in (5, 20) for shots in (1, 5))
