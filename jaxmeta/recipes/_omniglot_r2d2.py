"""Omniglot with R2-D2: Bertinetto, Henriques, Torr and Vedaldi, 2019, https://arxiv.org/abs/1805.08136."""

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import Examples, Positive, Ways
from ..recipe import recipe
from ..settings import Embedding, Halving
from ._omniglot import Omniglot


@recipe
def omniglot_r2d2(
    *,
    data: Omniglot = Omniglot(num_queries=5, num_test_queries=15),
    num_train_ways: Ways = 60,
    max_train_shots: Examples = 5,
    init_lambda: Positive = 1.0,
    init_scale: Positive = 10.0,
    outer: Halving = Halving(num_steps=20_000, tasks_per_step=1, meta_lr=5e-3, test_tasks=10_000),
    net: Embedding = Embedding(),
) -> Experiment:
    """R2-D2 on Omniglot.

    Four max-pooled convolutions of 64 filters, ridge regression on their output. Turned characters are further classes.
    All rows share one training, on 60 ways and a random number of shots: in the authors' code 1 to 10 shots and 600
    drawings in all, here 1 to 5 shots and five queries, at most 600 drawings. The strength of the ridge is learned
    here; in the code it stays 50, on thousands of features.

    Args:
      num_train_ways: classes per task in training; --num-ways are those of held-out tasks.
      max_train_shots: most support drawings per class in training; each task has 1 to this many.
      init_lambda: strength of the ridge, at the start of training.
      init_scale: scale of the outputs, at the start of training.
    """
    return data.experiment(
        outer,
        learner=jm.r2d2(net.model(), init_lambda=init_lambda, init_scale=init_scale),
        optimizer=optax.adam(outer.rate()),
        train={"num_ways": num_train_ways, "num_shots": (1, max_train_shots)},
        rotate="extra",
        log_every=20,
        row="omniglot_r2d2",
    )
