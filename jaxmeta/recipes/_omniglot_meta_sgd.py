"""Omniglot with Meta-SGD: Li, Zhou, Chen and Li, 2017, https://arxiv.org/abs/1707.09835."""

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import InnerSteps, Positive
from ..recipe import recipe
from ..settings import Convolutions, Memory, Outer
from ._omniglot import Omniglot


@recipe
def omniglot_meta_sgd(
    *,
    data: Omniglot = Omniglot(),
    min_init_lr: Positive = 0.005,
    max_init_lr: Positive = 0.1,
    num_inner_steps: InnerSteps = 1,
    outer: Outer = Outer(num_steps=60_000),
    net: Convolutions = Convolutions(),
    memory: Memory = Memory(),
) -> Experiment:
    """Meta-SGD on Omniglot.

    The network, tasks and lengths of MAML: four stride-2 convolutions of 64 filters and a mean over the last map,
    statistics of each batch, each character of a task turned by a random multiple of 90 degrees. There is one inner
    step. Its rates are learned; they start uniformly distributed, as in the paper.

    Args:
      min_init_lr: smallest rate at the start of training.
      max_init_lr: largest rate at the start of training.
      num_inner_steps: steps of adaptation.
    """
    return data.experiment(
        outer,
        learner=jm.meta_sgd(
            jm.from_linen(net.conv4(data.num_ways)), jm.losses.cross_entropy,
            init_lr=(min_init_lr, max_init_lr), num_steps=num_inner_steps, remat=memory.remat,
        ),
        optimizer=optax.adam(outer.meta_lr),
        rotate="draw",
        row="omniglot_meta_sgd",
    )  # fmt: skip
