"""The first thing to run: MAML on invented characters, 5-way 1-shot, in minutes on a laptop and without files."""

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split, by_steps
from ._knobs import Dtype, Remat, compute_dtype


def glyphs_maml(
    *,
    num_steps: int = 1_000,
    num_ways: int = 5,
    num_shots: int = 1,
    num_queries: int = 3,
    num_test_queries: int = 15,
    tasks_per_step: int = 8,
    features: int = 32,
    inner_lr: float = 0.5,
    num_inner_steps: int = 1,
    num_test_steps: int = 1,
    first_order: bool = False,
    meta_lr: float = 2e-3,
    jitter: float = 1.0,
    remat: Remat = 0,
    dtype: Dtype = "float32",
    test_tasks: int = 320,
) -> Experiment:
    """MAML on hand-drawn-like characters made on the device: needs no data, takes minutes on a CPU.

    Args:
      num_steps: meta-steps of training.
      num_ways: classes per task.
      num_shots: support drawings per class.
      num_queries: query drawings per class, in training.
      num_test_queries: query drawings per class, on held-out classes.
      tasks_per_step: tasks in a meta-batch.
      features: channels of the four convolutions.
      inner_lr: step size of adaptation.
      num_inner_steps: steps of adaptation in training.
      num_test_steps: steps of adaptation on held-out classes.
      first_order: drop second derivatives (FOMAML).
      meta_lr: step size of the outer Adam.
      jitter: how much two drawings of one character differ; larger is harder.
      test_tasks: tasks of held-out classes in the final measurement, and in each of four validations.
    """
    net = jm.backbones.Conv4(num_outputs=num_ways, features=features, dtype=compute_dtype(dtype))
    model = jm.from_linen(net)
    inner_optimizer = optax.sgd(inner_lr)

    def make(num_steps: int) -> jm.MetaLearner:
        options = {
            "inner_optimizer": inner_optimizer,
            "num_steps": num_steps,
            "first_order": first_order,
            "remat": remat,
        }
        return jm.maml(model, jm.losses.cross_entropy, **options)

    def tasks(split, num_queries: int):
        return jm.tasks.glyphs(
            num_ways=num_ways, num_shots=num_shots, num_queries=num_queries, split=split, jitter=jitter
        )

    make_learner = by_steps(make)
    return Experiment(
        learner=make_learner(num_inner_steps),
        make_learner=make_learner,
        test_steps=(num_test_steps,),
        optimizer=optax.adam(meta_lr),
        tasks=by_split(
            train=lambda: tasks("train", num_queries),
            val=lambda: tasks("val", num_test_queries),
            test=lambda: tasks("test", num_test_queries),
        ),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        cpu_chunk=1,
        log_every=25,
        eval_every=max(num_steps // 4, 1),
        eval_tasks=test_tasks,  # as many as at the end: one compilation serves both
        test_tasks=test_tasks,
        published="none; these characters are this library's own",
    )
