"""Omniglot with matching networks: Vinyals et al., 2016, https://arxiv.org/abs/1606.04080, table 1."""

import optax

import jaxmeta as jm

from ..experiment import Experiment
from ..ranges import Positive
from ..recipe import recipe
from ..settings import Embedding, Halving
from ._omniglot import Omniglot


@recipe
def omniglot_matching(
    *,
    data: Omniglot = Omniglot(num_queries=5, num_test_queries=15),
    full_context: bool = False,
    scale: Positive = 10.0,
    outer: Halving = Halving(num_steps=40_000, tasks_per_step=8, halve_every=5_000),
    net: Embedding = Embedding(),
) -> Experiment:
    """Matching networks on Omniglot.

    Four max-pooled convolutions of 64 filters, attention over cosine similarities. Turned characters are further
    classes, and training has the ways and shots of the test. The paper has the network and the figures; queries, rates
    and lengths are this recipe's own.

    Args:
      full_context: embed every drawing in the context of the support set, by recurrent networks.
      scale: factor of the similarities; it is 1 in the paper, where no class can become much likelier than another.
    """
    return data.experiment(
        outer,
        learner=jm.matching(net.model(), full_context=full_context, scale=scale),
        optimizer=optax.adam(outer.rate()),
        rotate="extra",
        row="omniglot_matching",
    )
