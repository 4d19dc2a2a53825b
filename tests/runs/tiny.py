"""An experiment that compiles in a second: a line through the origin, without adaptation."""

import jax.numpy as jnp
import optax

import jaxmeta as jm
from jaxmeta.experiment import Experiment, by_split
from jaxmeta.types import Aux, MetaLearner, Variables


def line(scale: float = 1.0) -> MetaLearner:
    """Predict ``scale * w * x``; a scale that is not finite makes every loss and prediction so."""

    def predict(meta, adapted, x, key=None):
        return scale * meta.params["w"] * x

    def loss(meta, task, key):
        error = jnp.mean((predict(meta, None, task.query.x) - task.query.y) ** 2)
        return error, Aux(meta.state, {"loss": error, "mse": error})

    return MetaLearner(
        lambda key, task: Variables({"w": jnp.ones(())}), lambda meta, support, key=None: (), predict, loss
    )


def experiment(scale: float = 1.0, num_steps: int = 6, **changes) -> Experiment:
    tasks = jm.tasks.sinusoid(num_shots=2, num_queries=3)
    e = Experiment(
        learner=line(scale),
        optimizer=optax.sgd(0.01),
        tasks=by_split(train=lambda: tasks, test=lambda: tasks),
        num_steps=num_steps,
        tasks_per_step=2,
        published="none",
        log_every=2,
        test_tasks=4,
    )
    return e._replace(**changes)
