"""Omniglot with iMAML: Rajeswaran et al., 2019, https://arxiv.org/abs/1909.04630, and its code."""

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_steps
from ..ranges import InnerSteps, Positive
from ..recipe import recipe
from ..settings import Convolutions, Inner, Outer
from ._omniglot import Omniglot


@recipe
def omniglot_imaml(
    *,
    data: Omniglot = Omniglot(),
    inner: Inner = Inner(inner_lr=0.1, num_inner_steps=16, num_test_steps=16),
    strength: Positive = 2.0,
    cg_steps: InnerSteps = 5,
    outer: Outer = Outer(num_steps=20_000, test_tasks=600),
    net: Convolutions = Convolutions(),
) -> Experiment:
    """iMAML on Omniglot.

    Four stride-2 convolutions of 64 filters and a mean over the last map, statistics of each batch, each character of a
    task turned by a random multiple of 90 degrees. The outer Adam's epsilon is 0.001. Held-out characters get plain
    gradient descent without the proximal term, as in the authors' code. Unlike there, the term is in every step of
    training, and the linear system is that of the paper, undamped. Memory is that of one step, so there is no --remat.

    Args:
      strength: weight of the proximal term, which keeps adapted parameters near the initialisation in training.
      cg_steps: conjugate gradient steps.
    """
    model, inner_optimizer = jm.from_linen(net.conv4(data.num_ways)), optax.sgd(inner.inner_lr)

    def descend(num_steps: int) -> jm.MetaLearner:
        return jm.maml(model, jm.losses.cross_entropy, inner_optimizer=inner_optimizer, num_steps=num_steps)

    return data.experiment(
        outer,
        learner=jm.imaml(
            model, jm.losses.cross_entropy, inner_optimizer=inner_optimizer, num_steps=inner.num_inner_steps,
            strength=strength, cg_steps=cg_steps,
        ),
        make_learner=by_steps(descend),
        test_steps=(inner.num_test_steps,),
        optimizer=optax.adam(outer.meta_lr, eps=1e-3),
        rotate="draw",
        row="omniglot_imaml",
    )  # fmt: skip
