"""Omniglot with MAML++: Antoniou, Edwards and Storkey, 2019, https://arxiv.org/abs/1810.09502, and its code."""

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import InnerSteps, Positive, Whole
from ..recipe import recipe
from ..settings import Convolutions, Outer
from ._omniglot import Omniglot


@recipe
def omniglot_maml_plus_plus(
    *,
    data: Omniglot = Omniglot(),
    inner_lr: Positive = 0.1,
    num_inner_steps: InnerSteps = 5,
    multi_step_until: Whole = 5_000,
    outer: Outer = Outer(num_steps=50_000, tasks_per_step=8, test_tasks=600),
    net: Convolutions = Convolutions(),
) -> Experiment:
    """MAML++ on Omniglot.

    Four max-pooled convolutions of 64 filters. Every inner step has learned rates and its own BatchNorm, and counts in
    the loss for the first ten of a hundred epochs. The outer rate falls by a cosine to a hundredth. Turned characters
    are further classes. The authors average the predictions of the five best epochs and hold out 50 characters to
    choose them; here the last network is measured. Their interval is over queries and not over tasks. The loss reads
    every step, so that none can be recomputed: there is no --remat.

    Args:
      inner_lr: initial value of every learned rate.
      num_inner_steps: steps of adaptation.
      multi_step_until: the meta-step from which only the last inner step counts in the loss.
    """
    return data.experiment(
        outer,
        learner=jm.maml_plus_plus(
            jm.from_linen(net.conv4(data.num_ways, pool="max"), norm="running"), jm.losses.cross_entropy,
            inner_lr=inner_lr, num_steps=num_inner_steps, multi_step_until=multi_step_until,
        ),
        optimizer=optax.adam(optax.cosine_decay_schedule(outer.meta_lr, outer.num_steps, alpha=0.01)),
        rotate="extra",
        row="omniglot_maml_plus_plus",
    )  # fmt: skip
