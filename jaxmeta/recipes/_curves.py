"""Any regression algorithm on one-dimensional functions: sine waves, or a mixture of sine waves and lines."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split, by_steps
from ..types import MetaLearner, Model, Sampler
from ._knobs import Dtype, Remat, compute_dtype, recomputing

SGD: dict[str, Any] = {"inner_optimizer": optax.sgd(0.001)}
FAST: dict[str, Any] = {"inner_optimizer": optax.sgd(0.003)}  # where no derivative passes through the steps

# Those that move the weights of a network with an output; those that read its features; those that read the points.
BY_STEPS: dict[str, Callable[..., MetaLearner]] = {
    "maml": partial(jm.maml, **SGD),
    "fomaml": partial(jm.maml, first_order=True, **SGD),
    "anil": partial(jm.anil, **SGD),
    "reptile": partial(jm.reptile, **FAST),
    "meta_sgd": lambda net, loss, num_steps, **how: jm.meta_sgd(net, loss, num_steps=1, init_lr=0.001, **how),
    "imaml": partial(jm.imaml, strength=1.0, **SGD),
    "lstm": partial(jm.lstm, init_lr=0.001),
}
BY_FEATURES: dict[str, Callable[[Model], MetaLearner]] = {
    "r2d2": lambda net: jm.r2d2(net, jm.losses.mse, init_lambda=0.1),
}
BY_POINTS: dict[str, Callable[[Model], MetaLearner]] = {
    "neural_process": lambda points: jm.neural_process(points),
    "attentive_process": lambda points: jm.neural_process(points, num_heads=8),
    "snail": lambda points: jm.snail(points, jm.losses.mse, filters=32, attention=((32, 16), (64, 32), (64, 32))),
}
Algorithm = Literal[
    "neural_process", "attentive_process", "snail", "r2d2",
    "maml", "fomaml", "anil", "reptile", "meta_sgd", "imaml", "lstm",
]  # fmt: skip


def curves(
    *,
    algorithm: Algorithm = "neural_process",
    family: Literal["sinusoid", "mixture"] = "sinusoid",
    num_steps: int = 5_000,
    num_shots: int = 10,
    num_queries: int = 20,
    num_test_shots: int = 10,
    num_test_queries: int = 50,
    tasks_per_step: int = 32,
    hidden: int = 64,
    num_inner_steps: int = 5,
    meta_lr: float = 1e-3,
    remat: Remat = 0,
    dtype: Dtype = "float32",
    test_tasks: int = 2_000,
) -> Experiment:
    """Any algorithm that does regression, on sine waves or on a mixture of those and lines; Adam with a cosine outside.

    Rates inside are this recipe's own, chosen to learn fast and not tuned for each.

    Args:
      algorithm: see `jaxmeta list algorithms`; attentive_process is the neural process with attention.
      family: waves of amplitude 0.1 to 5 and any phase in half a turn, or as many of those as lines of slope -3 to 3.
      num_steps: meta-steps of training.
      num_shots: support points, in training.
      num_queries: query points, in training.
      num_test_shots: support points, on held-out functions.
      num_test_queries: query points, on held-out functions.
      tasks_per_step: tasks in a meta-batch.
      hidden: width of the network's two hidden layers, where there is a network.
      num_inner_steps: steps of adaptation, for those that adapt by steps; they are also measured after 1 and 10;
        meta_sgd takes one, as in its paper: with learned rates several diverge.
      meta_lr: step size of the outer Adam at its start; of plain SGD, a thousandfold, for reptile.
      test_tasks: held-out functions in the final measurement.
    """
    steps, how = None, recomputing(remat, algorithm)
    net = partial(jm.backbones.MLP, (hidden, hidden), dtype=compute_dtype(dtype))
    if algorithm in BY_STEPS:
        steps = by_steps(partial(BY_STEPS[algorithm], jm.from_linen(net(num_outputs=1)), jm.losses.mse, **how))
        learner = steps(num_steps=num_inner_steps)
    elif algorithm in BY_FEATURES:
        learner = BY_FEATURES[algorithm](jm.from_linen(net(num_outputs=None)))
    else:
        if dtype != "float32":
            raise ValueError(f"`dtype` is {dtype!r}, but the small network of {algorithm} is its own, and float32.")
        learner = BY_POINTS[algorithm](jm.identity())
    rate = optax.cosine_decay_schedule(meta_lr * (1000 if algorithm == "reptile" else 1), num_steps)
    return Experiment(
        learner=learner,
        make_learner=steps,
        test_steps=tuple(sorted({1, num_inner_steps, 10})) if steps else (),
        optimizer=optax.sgd(rate) if algorithm == "reptile" else optax.adam(rate),
        tasks=by_split(
            train=lambda: functions(family, num_shots, num_queries),
            test=lambda: functions(family, num_test_shots, num_test_queries),
        ),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=100,
        test_tasks=test_tasks,
        published="none; one protocol for all algorithms",
    )


def functions(family: str, num_shots: int, num_queries: int) -> Sampler:
    """The distribution of tasks.

    Example:
      >>> import jax
      >>> functions("mixture", 5, 7)(jax.random.key(0)).query.x.shape
      (7, 1)
    """
    points: dict[str, Any] = {"num_shots": num_shots, "num_queries": num_queries}
    waves = jm.tasks.sinusoid(**points)
    return waves if family == "sinusoid" else jm.tasks.mixture(waves, jm.tasks.lines(**points))
