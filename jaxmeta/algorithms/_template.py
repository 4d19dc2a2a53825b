"""A skeleton to copy: one gradient step whose single step size is learned. CONTRIBUTING.md walks through it.

Replace this by one sentence that says what the algorithm does, and its paper with a link.
"""

import jax
import jax.numpy as jnp

from ..learner import Adapted, episodic, fast_weights, support_loss
from ..losses import LossFn
from ..types import Batch, MetaLearner, Model, Task, Variables


def template(model: Model, loss_fn: LossFn) -> MetaLearner:
    r"""$\phi = \theta - e^{a} \nabla L_S(\theta)$, with $\theta$ and $a$ meta-learned."""

    def init(key, task: Task) -> Variables:  # what is learned lives in meta.params
        variables = model.init(key, task.support.x)
        return Variables({"model": variables.params, "log_lr": jnp.log(0.1)}, variables.state)

    def adapt(meta: Variables, support: Batch, key=None, *, train: bool = False) -> Adapted:  # one task, no batching
        loss = support_loss(model, loss_fn, support, train=train)
        params = meta.params["model"]
        grads, state = jax.grad(loss, has_aux=True)(params, meta.state, key)
        lr = jnp.exp(meta.params["log_lr"])
        return Adapted(jax.tree.map(lambda p, g: p - lr.astype(p.dtype) * g, params, grads), state, support.ways)

    return episodic(init, adapt, fast_weights(model), loss_fn, keeps_state=model.keeps_state)
