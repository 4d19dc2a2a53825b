"""A learned optimizer on random quadratics.

Andrychowicz et al., 2016, https://arxiv.org/abs/1606.04474, section 3.1.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split
from ..types import Model
from ._knobs import Remat


def quadratics(
    *,
    rule: Literal["mlp", "lstm", "schedule"] = "mlp",
    num_steps: int = 1_000,
    num_dims: int = 10,
    num_inner_steps: int = 20,
    tasks_per_step: int = 32,
    meta_lr: float = 3e-3,
    remat: Remat = 0,
    test_tasks: int = 1_000,
) -> Experiment:
    """An update rule learned on random quadratics, from random starts, measured on new ones.

    Beside it stands gradient descent with each of seven rates. There is no network to be computed in another dtype.

    Args:
      rule: a small network for each parameter, a recurrent one, or only a learned rate for every step.
      num_steps: meta-steps of training.
      num_dims: dimensions of a problem.
      num_inner_steps: updates per problem.
      tasks_per_step: problems in a meta-batch.
      meta_lr: step size of the outer Adam at its start.
      test_tasks: held-out problems in the final measurement.
    """
    rules = {
        "mlp": lambda: jm.update_rules.mlp(),
        "lstm": lambda: jm.update_rules.lstm(),
        "schedule": lambda: jm.update_rules.schedule(num_inner_steps, init_lr=0.1),
    }
    sampler = jm.tasks.quadratics(num_dims=num_dims)
    # One by one: the outer loss keeps what is between them anyway.
    options: dict[str, Any] = {"num_steps": num_inner_steps, "remat": remat > 0}
    descent = lambda lr: jm.learned_optimizer(
        point(), jm.losses.mse, rule=jm.update_rules.tuned(optax.sgd, lr), **options
    )
    rate = optax.cosine_decay_schedule(meta_lr, num_steps)
    return Experiment(
        learner=jm.learned_optimizer(point(), jm.losses.mse, rule=rules[rule](), **options),
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)),
        tasks=by_split(train=lambda: sampler, test=lambda: sampler),
        num_steps=num_steps,
        tasks_per_step=tasks_per_step,
        log_every=50,
        test_tasks=test_tasks,
        published="curves only (figure 4 of the paper), no numbers",
        beside={f"gradient descent, rate {lr}": descent(lr) for lr in (0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3)},
    )


def point() -> Model:
    r"""What is optimised: $\theta$ ``[D, 1]``, from $\mathcal N(0, 1)$; its output is $W \theta$."""
    return jm.from_functions(
        lambda key, x: jax.random.normal(key, (jnp.shape(x)[-1], 1)), lambda variables, x: x @ variables.params
    )
