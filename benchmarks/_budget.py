"""Train for a number of minutes of CPU time, so that other work on the machine does not matter."""

import time

import jax

import jaxmeta as jm
from jaxmeta.experiment import Experiment


def trained(e: Experiment, minutes: float, seed: int = 0) -> jm.MetaState:
    """Return the state of an experiment after ``minutes`` of CPU time, compilation included, or at its end."""
    begin = time.process_time()
    state = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(seed))
    late = lambda _: time.process_time() - begin >= 60 * minutes
    state, _ = jm.fit(
        e.learner, e.train, e.optimizer, state, num_steps=e.num_steps, tasks_per_step=e.tasks_per_step,
        chunk=e.chunk, log_every=25, callbacks=[late],
    )  # fmt: skip
    return state
