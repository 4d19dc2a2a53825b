"""A skeleton to copy: K gradient steps whose single step size is learned. CONTRIBUTING.md walks through it.

Replace this by one sentence that says what the algorithm does, and its paper with a link.
"""

import jax.numpy as jnp
import optax

from ..learner import Adapted, descent, episodic, fast_weights
from ..losses import LossFn
from ..types import Batch, Key, MetaLearner, Model, Task, Variables


def template(model: Model, loss_fn: LossFn, *, num_steps: int = 1) -> MetaLearner:
    r"""$\phi_{k+1} = \phi_k - e^{a} \nabla L_S(\phi_k)$ from $\phi_0 = \theta$, with $\theta$ and $a$ meta-learned."""
    steps = descent(model, loss_fn, num_steps=num_steps)  # an objective of your own: see `inner.descend`

    def init(key: Key, task: Task) -> Variables:  # everything that is learned belongs to meta.params
        variables = model.init(key, task.support.x)
        return Variables({"model": variables.params, "log_lr": jnp.log(0.1)}, variables.state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:  # one task
        optimizer = optax.sgd(jnp.exp(meta.params["log_lr"]))  # any optax optimizer; its numbers may be learned
        return steps(Variables(meta.params["model"], meta.state), optimizer, support, key, train=train)

    return episodic(init, adapt, fast_weights(model), loss_fn, keeps_state=model.keeps_state)
