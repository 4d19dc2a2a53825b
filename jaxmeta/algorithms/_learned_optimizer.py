"""Learned optimizers: an update rule is meta-trained over problems, from random starts, and kept for others.

Andrychowicz et al., 2016, https://arxiv.org/abs/1606.04474; Metz et al., 2022, https://arxiv.org/abs/2203.11860
"""

import jax
import jax.numpy as jnp

from .. import update_rules
from ..inner import Descent, Gradient, descend
from ..learner import Adapted, batch_metrics, episodic, fast_weights, split_key, support_loss, support_state
from ..losses import LossFn, batch_loss
from ..types import Aux, Batch, Key, MetaLearner, Model, Task, Variables


def learned_optimizer(
    model: Model,
    loss_fn: LossFn,
    *,
    rule: update_rules.UpdateRule | None = None,
    num_steps: int = 20,
    gradient: Gradient = "mixed",
    remat: bool = False,
) -> MetaLearner:
    r"""A learned update rule $u_\phi$; a task is the problem of fitting the model to the support set.

    From $\theta_0$ as the model initialises it, anew for every task,
    $\theta_{t+1} = \theta_t + u_\phi(\nabla L_S(\theta_t))$. An optimizer should be fast at every step, so the outer
    loss is $\frac{1}{K} \sum_{t=1}^K L_Q(\theta_t)$. Only $\phi$ is learned: after training,
    ``rule.transform(state.meta.params)`` is an `optax.GradientTransformation` for other problems, models and lengths.

    Args:
      model: the model that is optimised; `tasks.quadratics` names one.
      loss_fn: as for `maml`.
      rule: the update rule that is learned: `update_rules.mlp` by default, `update_rules.lstm`, or
        `update_rules.schedule`, `update_rules.rates` and `update_rules.tuned` for the numbers of an ordinary optimizer.
      num_steps: K.
      gradient: see `inner.descend`; ``"first_order"`` takes the rule's inputs as constants, as Andrychowicz et al. do.
      remat: recompute every step in the backward pass, where memory binds.

    Returns:
      A `MetaLearner`; ``meta.params`` is $\phi$. `adapt` returns the `Adapted` parameters $\theta_K$; its key draws
      $\theta_0$, which takes the dtype of $\phi$.

    Raises:
      ValueError: if ``num_steps`` is not positive.

    Example:
      >>> import jaxmeta as jm
      >>> rule, model = jm.update_rules.schedule(5, init_lr=0.1), jm.from_linen(jm.backbones.MLP((8,), num_outputs=1))
      >>> learner = learned_optimizer(model, jm.losses.mse, rule=rule, num_steps=5)
      >>> meta = learner.init(jax.random.key(0), jm.tasks.sinusoid()(jax.random.key(1)))
      >>> optimizer = rule.transform(meta.params)  # for use with optax
    """
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1, got {num_steps}.")
    rule = update_rules.mlp() if rule is None else rule
    forward = fast_weights(model)

    def init(key: Key, task: Task) -> Variables:
        k_model, k_rule = jax.random.split(key)
        variables = model.init(k_model, task.support.x)
        return Variables(rule.init(k_rule, variables.params), variables.state)

    def unroll(meta: Variables, support: Batch, key: Key | None, *, train: bool) -> tuple[Adapted, Adapted]:
        """Return the last parameters, and those after every step, stacked ``[K, ...]``."""
        k_start, k_steps = split_key(key)
        params = model.init(jax.random.key(0) if k_start is None else k_start, support.x).params
        dtype = jnp.result_type(*jax.tree.leaves(meta.params))
        params = jax.tree.map(lambda p: p.astype(dtype), params)
        optimizer, objective = rule.transform(meta.params), support_loss(model, loss_fn, support, train=train)

        def fitted(at: Descent, k: Key | None) -> Adapted:
            variables = Variables(at.params, meta.state)
            state = support_state(model, variables, support, k, train=train, default=at.state)
            return Adapted(at.params, state, support.ways)

        def step(at: Descent, k: Key | None) -> tuple[Descent, Adapted]:
            inputs = None if k is None else k[None]
            at = descend(
                objective,
                at.params,
                optimizer,
                1,
                state=at.state,
                inputs=inputs,
                opt_state=at.opt_state,
                gradient=gradient,
            )
            return at, fitted(at, k)

        keys = None if key is None else jax.random.split(k_steps, num_steps)
        start = Descent(params, meta.state, optimizer.init(params))
        end, path = jax.lax.scan(jax.checkpoint(step) if remat else step, start, keys, length=num_steps)
        return fitted(end, None if keys is None else keys[-1]), path

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        return unroll(meta, support, key, train=train)[0]

    def loss(meta: Variables, task: Task, key: Key | None = None) -> tuple[jax.Array, Aux]:
        k_adapt, k_query = split_key(key)
        _, path = unroll(meta, task.support, k_adapt, train=True)

        def measure(fast: Adapted):
            outputs, state = forward(meta, fast, task.query.x, k_query, train=True, weight=task.query.weight)
            return batch_loss(loss_fn, outputs, task.query), state, batch_metrics(outputs, task.query)

        values, states, metrics = jax.vmap(measure)(path)
        state, metrics = jax.tree.map(lambda a: a[-1], (states, metrics))
        return values.mean(), Aux(state if model.keeps_state else meta.state, {"loss": values[-1], **metrics})

    return episodic(init, adapt, forward, loss_fn, loss=loss)
