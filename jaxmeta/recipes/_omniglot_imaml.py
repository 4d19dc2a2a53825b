"""Omniglot with iMAML: Rajeswaran et al., 2019, https://arxiv.org/abs/1909.04630, and its code."""

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_steps
from ._knobs import Dtype, compute_dtype
from ._omniglot import Resize, TrainSplit, omniglot_tasks
from ._published import figures, published, row

FIGURES = figures(
    {
        "omniglot_imaml_5w1s": "99.16",
        "omniglot_imaml_5w5s": "99.67",
        "omniglot_imaml_20w1s": "94.46",
        "omniglot_imaml_20w5s": "98.69",
    },
    "iMAML paper, gradient descent",
    num_tasks=600,
    norm="transductive",
    known="quoted",
)


def omniglot_imaml(
    *,
    data_dir: str | None = None,
    download: bool = False,
    resize: Resize = "nearest",
    train_split: TrainSplit = "trainval",
    num_steps: int = 20_000,
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 1,
    num_test_queries: int = 1,
    tasks_per_step: int = 32,
    features: int = 64,
    inner_lr: float = 0.1,
    num_inner_steps: int = 16,
    num_test_steps: int = 16,
    strength: float = 2.0,
    cg_steps: int = 5,
    meta_lr: float = 1e-3,
    dtype: Dtype = "float32",
    test_tasks: int = 600,
) -> Experiment:
    """iMAML on Omniglot.

    Four stride-2 convolutions of 64 filters and a mean over the last map, statistics of each batch, characters turned
    by a multiple of 90 degrees drawn in every task. On held-out characters plain gradient descent, without the proximal
    term, as in the authors' code; unlike there, the term is in every step of training and the linear system is that
    of the paper, undamped. Memory is that of one step, so there are none to recompute (no --remat).

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
      inner_lr: step size of adaptation.
      num_inner_steps: steps of adaptation in training.
      num_test_steps: steps of adaptation on held-out characters.
      strength: how strongly adapted parameters are held to the initialisation, in training.
      cg_steps: conjugate gradient steps.
      meta_lr: step size of the outer Adam, whose epsilon is 0.001.
      test_tasks: held-out tasks in the final measurement.
    """
    net = jm.backbones.Conv4(num_outputs=num_ways, features=features, dtype=compute_dtype(dtype))
    model, inner_optimizer = jm.from_linen(net), optax.sgd(inner_lr)
    options = {"num_steps": num_inner_steps, "strength": strength, "cg_steps": cg_steps}

    def descend(num_steps: int) -> jm.MetaLearner:
        return jm.maml(model, jm.losses.cross_entropy, inner_optimizer=inner_optimizer, num_steps=num_steps)

    layout = {"num_ways": num_ways, "num_shots": num_shots}
    return Experiment(
        learner=jm.imaml(model, jm.losses.cross_entropy, inner_optimizer=inner_optimizer, **options),
        make_learner=by_steps(descend),
        test_steps=(num_test_steps,),
        cpu_chunk=1,
        optimizer=optax.adam(meta_lr, eps=1e-3),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=50,
        test_tasks=test_tasks,
        published=published(FIGURES, f"omniglot_imaml_{num_ways}w{num_shots}s"),
        **omniglot_tasks(
            {"data_dir": data_dir, "resize": resize, "download": download},
            train_split,
            train=layout | {"num_queries": num_queries},
            test=layout | {"num_queries": num_test_queries},
            rotate="draw",
        ),
    )


def _row(ways: int, shots: int):
    name = f"omniglot_imaml_{ways}w{shots}s"
    layout = {"num_ways": ways, "num_shots": shots, "num_queries": shots, "num_test_queries": shots}
    return name, row(omniglot_imaml, name, f"{ways}-way {shots}-shot", FIGURES[name], **layout)


ROWS = dict(_row(ways, shots) for ways in (5, 20) for shots in (1, 5))
