"""Omniglot with Reptile: Nichol, Achiam and Schulman, 2018, https://arxiv.org/abs/1803.02999, and its code."""

from typing import Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_steps
from ..ranges import Examples
from ..recipe import recipe
from ..settings import Convolutions, Inner, Outer
from ._omniglot import Omniglot


@recipe
def omniglot_reptile(
    *,
    data: Omniglot = Omniglot(),
    num_train_shots: Examples = 10,
    norm: Literal["support", "transductive"] = "support",
    inner: Inner = Inner(inner_lr=1e-3, num_test_steps=50),
    batch_size: Examples = 10,
    test_batch_size: Examples = 5,
    outer: Outer = Outer(num_steps=100_000, tasks_per_step=5, meta_lr=1.0, test_tasks=10_000),
    net: Convolutions = Convolutions(),
) -> Experiment:
    """Reptile on Omniglot.

    Four stride-2 convolutions of 64 filters. The inner optimizer is Adam without momentum, on mini-batches of ten
    drawings. The outer step size is the share of the way to the adapted parameters that the initialisation goes; it
    falls linearly to zero. Turned characters are further classes in training, held-out characters are not turned.
    Three things differ from the authors' code: Adam's second moments start anew in every task, where theirs continue
    from task to task; without transduction a query is normalised with the statistics of the support set, where theirs
    include the query; ink is 1 on paper 0, where theirs is the reverse. No outer derivative passes through the steps,
    so there is no --remat.

    Args:
      num_train_shots: support drawings per class in training; --num-shots are those of held-out tasks.
      norm: statistics of BatchNorm for queries: those of the support set, or those of the queries (transduction).
        Training is the same.
      batch_size: drawings of a mini-batch, in training.
      test_batch_size: drawings of a mini-batch, on held-out characters.
    """
    model = jm.from_linen(net.conv4(data.num_ways), norm=norm)
    inner_optimizer = jm.inner.adam(inner.inner_lr, b1=0.0)

    def make(num_steps: int, batch_size: int = test_batch_size) -> jm.MetaLearner:
        return jm.reptile(
            model, jm.losses.cross_entropy, inner_optimizer=inner_optimizer, num_steps=num_steps, batch_size=batch_size
        )

    return data.experiment(
        outer,
        learner=make(inner.num_inner_steps, batch_size),
        make_learner=by_steps(make),
        test_steps=(inner.num_test_steps,),
        optimizer=optax.sgd(optax.linear_schedule(outer.meta_lr, 0.0, outer.num_steps)),
        train={"num_shots": num_train_shots},
        rotate="extra",
        test_rotate=None,
        row=f"omniglot_reptile{'_transductive' * (norm == 'transductive')}",
    )
