"""A learned optimizer on random quadratics.

Andrychowicz et al., 2016, https://arxiv.org/abs/1606.04474, section 3.1.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

import jaxmeta as jm

from ..experiment import Experiment, by_split
from ..ranges import Dims, InnerSteps
from ..recipe import recipe
from ..settings import Memory, Outer
from ..types import Model


@recipe
def quadratics(
    *,
    rule: Literal["mlp", "lstm", "schedule"] = "mlp",
    num_dims: Dims = 10,
    num_inner_steps: InnerSteps = 20,
    outer: Outer = Outer(num_steps=1_000, meta_lr=3e-3),
    memory: Memory = Memory(),
) -> Experiment:
    """An update rule learned on random quadratics, from random starts, measured on new ones.

    Gradient descent with each of seven rates is measured for comparison. There is no network, and thus no --dtype.

    Args:
      rule: a small network for each parameter, a recurrent one, or only a learned rate for every step.
      num_dims: dimensions of a problem.
      num_inner_steps: updates per problem.
    """
    rules = {
        "mlp": lambda: jm.update_rules.mlp(),
        "lstm": lambda: jm.update_rules.lstm(),
        "schedule": lambda: jm.update_rules.schedule(num_inner_steps, init_lr=0.1),
    }

    def learner(rule: jm.update_rules.UpdateRule) -> jm.MetaLearner:
        # The outer loss keeps the iterates anyway, so steps are recomputed one by one.
        return jm.learned_optimizer(
            point(), jm.losses.mse, rule=rule, num_steps=num_inner_steps, remat=memory.remat > 0
        )

    sampler, rates = jm.tasks.quadratics(num_dims=num_dims), (0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3)
    rate = optax.cosine_decay_schedule(outer.meta_lr, outer.num_steps)
    return Experiment(
        learner=learner(rules[rule]()),
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)),
        tasks=by_split(train=lambda: sampler, test=lambda: sampler),
        num_steps=outer.num_steps,
        tasks_per_step=outer.tasks_per_step,
        test_tasks=outer.test_tasks,
        published="curves only (figure 4 of the paper), no numbers",
        beside={f"gradient descent, rate {lr}": learner(jm.update_rules.tuned(optax.sgd, lr)) for lr in rates},
    )


def point() -> Model:
    r"""Return the model of the iterate: $\theta$ ``[D, 1]``, drawn from $\mathcal N(0, 1)$, with output $W \theta$."""
    return jm.from_functions(
        lambda key, x: jax.random.normal(key, (jnp.shape(x)[-1], 1)), lambda variables, x: x @ variables.params
    )
