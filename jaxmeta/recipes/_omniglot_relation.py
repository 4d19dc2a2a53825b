"""Omniglot with relation networks: Sung et al., 2018, https://arxiv.org/abs/1711.06025, and its code."""

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import Positive
from ..recipe import recipe
from ..settings import Convolutions, Halving
from ._omniglot import Omniglot
from ._relation_network import Judge, Maps


@recipe
def omniglot_relation(
    *,
    data: Omniglot = Omniglot(num_queries=19, num_test_queries=19),
    max_grad_norm: Positive = 0.5,
    outer: Halving = Halving(num_steps=1_000_000, tasks_per_step=1, halve_every=100_000),
    net: Convolutions = Convolutions(),
) -> Experiment:
    """Relation networks on Omniglot.

    Four convolutions make maps, the first two of them pooled. Two pooled convolutions and two dense layers judge a
    class's map, the sum over its shots, beside a query's. The loss is the squared error of the scores. BatchNorm has
    the statistics of each batch. Each character of a task is turned by its own multiple of 90 degrees, where the
    authors' code turns a whole task.

    Args:
      max_grad_norm: largest norm of a meta-gradient.
    """
    model = jm.from_linen(Maps(features=net.features, dtype=net.module_dtype))
    module = jm.from_linen(Judge(features=net.features, dtype=net.module_dtype))
    return data.experiment(
        outer,
        learner=jm.relation(model, module=module, class_feature="sum"),
        optimizer=optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(outer.rate())),
        rotate="draw",
        log_every=100,
        row="omniglot_relation",
    )
