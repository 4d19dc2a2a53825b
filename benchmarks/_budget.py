"""Training for so many minutes of a core's time, whatever else the machine is doing."""

import time

import jax

import jaxmeta as jm
from jaxmeta.recipes import Experiment


def trained(e: Experiment, minutes: float, seed: int = 0) -> jm.MetaState:
    """What an experiment reaches in ``minutes`` of this process's CPU time, compiling included, or at its end."""
    begin = time.process_time()
    state = jm.init(e.learner, e.train, e.optimizer, key=jax.random.key(seed))
    options = {
        "num_steps": e.num_steps,
        "tasks_per_step": e.tasks_per_step,
        "chunk": e.chunk_on(jax.default_backend()),
        "log_every": 25,
    }
    late = lambda _: time.process_time() - begin >= 60 * minutes
    return jm.fit(e.learner, e.train, e.optimizer, state, callbacks=[late], **options)[0]
