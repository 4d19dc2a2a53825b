"""Omniglot with prototypical networks: Snell, Swersky and Zemel, 2017, https://arxiv.org/abs/1703.05175."""

from typing import Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import Ways
from ..recipe import recipe
from ..settings import Embedding, Halving
from ._omniglot import Omniglot


@recipe
def omniglot_protonet(
    *,
    data: Omniglot = Omniglot(num_queries=5, num_test_queries=15),
    num_train_ways: Ways = 60,
    init: Literal["torch", "xavier"] = "torch",
    outer: Halving = Halving(num_steps=20_000, tasks_per_step=1),
    net: Embedding = Embedding(),
) -> Experiment:
    """Prototypical networks on Omniglot.

    Four max-pooled convolutions of 64 filters, squared Euclidean distances. Turned characters are further classes.
    Training has 60 ways and the shots of the test. The authors stop when validation no longer improves; here the number
    of steps is fixed.

    Args:
      num_train_ways: classes per task in training; --num-ways are those of held-out tasks.
      init: torch is PyTorch's initialisation of 2017: kernels within 1 / sqrt(fan_in) of zero, BatchNorm scales between
        0 and 1; xavier has larger kernels and scales of 1, and learned less in short runs.
    """
    scale_init = "uniform" if init == "torch" else "ones"
    return data.experiment(
        outer,
        learner=jm.protonet(net.model(kernel_init=init, scale_init=scale_init)),
        optimizer=optax.adam(outer.rate()),
        train={"num_ways": num_train_ways},
        rotate="extra",
        log_every=20,
        row="omniglot_protonet",
    )
