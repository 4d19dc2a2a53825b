"""Any regression algorithm on one-dimensional functions: sine waves, or a mixture of sine waves and lines."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split, by_steps
from ..ranges import InnerSteps, Width
from ..recipe import recipe
from ..settings import Memory, Outer, Points, Precision
from ..types import MetaLearner, Model, Sampler

# Algorithms that move the weights of a network with an output, that read its features, and that read the points.
BY_STEPS: dict[str, Callable[..., MetaLearner]] = {
    "maml": partial(jm.maml, inner_optimizer=optax.sgd(0.001)),
    "fomaml": partial(jm.maml, first_order=True, inner_optimizer=optax.sgd(0.001)),
    "anil": partial(jm.anil, inner_optimizer=optax.sgd(0.001)),
    "reptile": partial(jm.reptile, inner_optimizer=optax.sgd(0.003)),  # no derivative passes through the steps
    "meta_sgd": lambda net, loss, num_steps, remat: jm.meta_sgd(net, loss, num_steps=1, init_lr=0.001, remat=remat),
    "imaml": partial(jm.imaml, strength=1.0, inner_optimizer=optax.sgd(0.001)),
    "lstm": partial(jm.lstm, init_lr=0.001),
}
BY_FEATURES: dict[str, Callable[[Model], MetaLearner]] = {
    "r2d2": lambda net: jm.r2d2(net, jm.losses.mse, init_lambda=0.1),
}
BY_POINTS: dict[str, Callable[[Model], MetaLearner]] = {
    "neural_process": lambda points: jm.neural_process(points),
    "attentive_process": lambda points: jm.neural_process(points, num_heads=8),
    "transformer_process": lambda points: jm.transformer_process(points),
    "conv_process": lambda points: jm.conv_process(bounds=(-7.0, 7.0)),
    "snail": lambda points: jm.snail(points, jm.losses.mse, filters=32, attention=((32, 16), (64, 32), (64, 32))),
}
Algorithm = Literal[
    "neural_process", "attentive_process", "transformer_process", "conv_process", "snail", "r2d2",
    "maml", "fomaml", "anil", "reptile", "meta_sgd", "imaml", "lstm",
]  # fmt: skip


@recipe
def curves(
    *,
    algorithm: Algorithm = "neural_process",
    family: Literal["sinusoid", "mixture"] = "sinusoid",
    points: Points = Points(),
    hidden: Width = 64,
    num_inner_steps: InnerSteps = 5,
    outer: Outer = Outer(num_steps=5_000, test_tasks=2_000),
    precision: Precision = Precision(),
    memory: Memory = Memory(),
) -> Experiment:
    """Any algorithm that does regression, on sine waves or on a mixture of those and lines; Adam with a cosine outside.

    Rates inside are this recipe's own, chosen to learn fast and not tuned for each algorithm. The outer optimizer is
    Adam, or plain SGD with a thousand times --meta-lr for reptile.

    Args:
      algorithm: see `jaxmeta list algorithms`; attentive_process is the neural process with attention.
      family: waves of amplitude 0.1 to 5 and any phase in half a turn, or as many of those as lines of slope -3 to 3.
      hidden: width of the network's two hidden layers, where there is a network.
      num_inner_steps: steps of adaptation, of algorithms that adapt by steps; they are also measured after 1 and 10;
        meta_sgd takes one, as in its paper: with learned rates, several steps diverge.
    """
    make, net = None, partial(jm.backbones.MLP, (hidden, hidden), dtype=precision.module_dtype)
    if algorithm in BY_STEPS:
        factory = memory.applied(BY_STEPS[algorithm], algorithm)
        make = by_steps(partial(factory, jm.from_linen(net(num_outputs=1)), jm.losses.mse))
        learner = make(num_steps=num_inner_steps)
    elif algorithm in BY_FEATURES:
        learner = memory.applied(BY_FEATURES[algorithm], algorithm)(jm.from_linen(net(num_outputs=None)))
    elif precision.dtype != "float32":
        raise ValueError(f"`dtype` is {precision.dtype!r}, but {algorithm} has a small network of its own, in float32.")
    else:
        learner = memory.applied(BY_POINTS[algorithm], algorithm)(jm.identity())
    reptile = algorithm == "reptile"
    rate = optax.cosine_decay_schedule(outer.meta_lr * (1000 if reptile else 1), outer.num_steps)
    return Experiment(
        learner=learner,
        make_learner=make,
        test_steps=tuple(sorted({1, num_inner_steps, 10})) if make else (),
        optimizer=optax.sgd(rate) if reptile else optax.adam(rate),
        tasks=by_split(
            train=lambda: functions(family, **points.layout()),
            test=lambda: functions(family, **points.layout(held_out=True)),
        ),
        num_steps=outer.num_steps,
        tasks_per_step=outer.tasks_per_step,
        log_every=100,
        test_tasks=outer.test_tasks,
        published="none; one protocol for all algorithms",
    )


def functions(family: str, num_shots: int, num_queries: int) -> Sampler:
    """Return the sampler of a family of functions.

    Example:
      >>> import jax
      >>> functions("mixture", 5, 7)(jax.random.key(0)).query.x.shape
      (7, 1)
    """
    waves = jm.tasks.sinusoid(num_shots=num_shots, num_queries=num_queries)
    if family == "sinusoid":
        return waves
    return jm.tasks.mixture(waves, jm.tasks.lines(num_shots=num_shots, num_queries=num_queries))
