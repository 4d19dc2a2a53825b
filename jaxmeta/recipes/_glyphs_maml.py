"""The first thing to run: MAML on invented characters, 5-way 1-shot, in minutes on a laptop and without files."""

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split, by_steps
from ..ranges import NotNegative
from ..recipe import recipe
from ..settings import Convolutions, Episodes, Inner, Memory, Outer
from ..types import Sampler


@recipe
def glyphs_maml(
    *,
    episodes: Episodes = Episodes(num_queries=3, num_test_queries=15),
    jitter: NotNegative = 1.0,
    first_order: bool = False,
    inner: Inner = Inner(inner_lr=0.5, num_inner_steps=1, num_test_steps=1),
    outer: Outer = Outer(num_steps=1_000, tasks_per_step=8, meta_lr=2e-3, test_tasks=320),
    net: Convolutions = Convolutions(features=32),
    memory: Memory = Memory(),
) -> Experiment:
    """MAML on hand-drawn-like characters made on the device: needs no data, takes minutes on a CPU.

    There are four validations in training, each of as many tasks as the final measurement.

    Args:
      jitter: how much two drawings of one character differ; larger is harder.
      first_order: drop second derivatives (FOMAML).
    """
    model, inner_optimizer = jm.from_linen(net.conv4(episodes.num_ways)), optax.sgd(inner.inner_lr)

    @by_steps
    def make(num_steps: int) -> jm.MetaLearner:
        return jm.maml(
            model, jm.losses.cross_entropy, inner_optimizer=inner_optimizer, num_steps=num_steps,
            first_order=first_order, remat=memory.remat,
        )  # fmt: skip

    def held_out(split: str) -> Sampler:
        return jm.tasks.glyphs(**episodes.layout(held_out=True), split=split, jitter=jitter)

    return Experiment(
        learner=make(num_steps=inner.num_inner_steps),
        make_learner=make,
        test_steps=(inner.num_test_steps,),
        optimizer=optax.adam(outer.meta_lr),
        tasks=by_split(
            train=lambda: jm.tasks.glyphs(**episodes.layout(), split="train", jitter=jitter),
            val=lambda: held_out("val"),
            test=lambda: held_out("test"),
        ),
        num_steps=outer.num_steps,
        tasks_per_step=outer.tasks_per_step,
        log_every=25,
        eval_every=max(outer.num_steps // 4, 1),
        eval_tasks=outer.test_tasks,  # as many as in the final measurement: one compilation serves both
        test_tasks=outer.test_tasks,
        published="none; these characters are this library's own",
    )
