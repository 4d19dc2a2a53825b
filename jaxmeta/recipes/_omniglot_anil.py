"""Omniglot with ANIL: Raghu, Raghu, Bengio and Vinyals, 2020, https://arxiv.org/abs/1909.09157, table 2."""

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_steps
from ..recipe import recipe
from ..settings import Convolutions, Inner, Memory, Outer
from ._omniglot import Omniglot


@recipe
def omniglot_anil(
    *,
    data: Omniglot = Omniglot(num_ways=20),
    inner: Inner = Inner(inner_lr=0.5),
    outer: Outer = Outer(num_steps=60_000, tasks_per_step=16),
    net: Convolutions = Convolutions(),
    memory: Memory = Memory(),
) -> Experiment:
    """ANIL on Omniglot.

    MAML with 20 ways in which the head alone adapts: four stride-2 convolutions of 64 filters and a mean over the last
    map, statistics of each batch, each character of a task turned by a random multiple of 90 degrees. In the same table
    MAML has 93.7 ± 0.7 % for 1 shot and 96.4 ± 0.1 % for 5.
    """
    model, inner_optimizer = jm.from_linen(net.conv4(data.num_ways)), optax.sgd(inner.inner_lr)

    @by_steps
    def make(num_steps: int) -> jm.MetaLearner:
        return jm.anil(
            model, jm.losses.cross_entropy, inner_optimizer=inner_optimizer, num_steps=num_steps, remat=memory.remat
        )

    return data.experiment(
        outer,
        learner=make(num_steps=inner.num_inner_steps),
        make_learner=make,
        test_steps=inner.test_steps,
        optimizer=optax.adam(outer.meta_lr),
        rotate="draw",
        row="omniglot_anil",
    )
