"""LSTM meta-learner: an LSTM is the optimizer, its cell state the parameters, its gates decay and learning rate.

Ravi and Larochelle, 2017, https://openreview.net/forum?id=rJY0-Kcll
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from .. import layers, update_rules
from ..inner import Gradient
from ..learner import Adapted, descent, episodic, fast_weights
from ..losses import LossFn
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables


def lstm(
    model: Model,
    loss_fn: LossFn,
    *,
    num_steps: int = 5,
    hidden: int = 20,
    init_lr: float = 0.01,
    init_decay: float = 0.007,
    first_order: bool = True,
    batch_size: int | None = None,
    adapt_only: Callable[[str], bool] | None = None,
    gradient: Gradient = "mixed",
    remat: int | Literal["sqrt"] = 0,
    truncate: int | None = None,
) -> MetaLearner:
    r"""The LSTM meta-learner: $c_t = f_t \circ c_{t-1} - i_t \circ \nabla L_S(c_{t-1})$ with learned $c_0$.

    For every coordinate alone, with shared weights: $h_t$ is an ordinary LSTM of gradient and loss, both as
    `update_rules.log_and_sign`, and $i_t = \sigma(w_i^T [h_t, c_{t-1}, i_{t-1}] + b_i)$, $f_t$ likewise. $i_t$ is a
    learning rate, $1 - f_t$ a decay. ``meta.params`` is ``{"model": c_0, "gates": ...}``; the gates serve networks of
    any size.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      num_steps: inner steps; the paper takes 12 for one shot and 5 to 8 for five.
      hidden: units of the first LSTM.
      init_lr: $i_t$ before training, by its bias.
      init_decay: $1 - f_t$ before training; the paper's biases are between 4 and 5, this is 5.
      first_order: gradients and losses are constants to the outer derivative, as in the paper.
      batch_size: as for `reptile`.
      adapt_only, gradient, remat, truncate: as for `maml`.

    Raises:
      ValueError: if ``init_lr`` or ``init_decay`` is not between 0 and 1, or ``num_steps`` is negative.

    Example:
      >>> import jaxmeta as jm
      >>> learner = lstm(jm.from_linen(jm.backbones.MLP((8,), num_outputs=1)), jm.losses.mse, num_steps=12)
    """
    for name, value in (("init_lr", init_lr), ("init_decay", init_decay)):
        if not 0 < value < 1:
            raise ValueError(f"`{name}` starts a sigmoid gate and must be between 0 and 1, got {value!r}.")
    steps = descent(
        model,
        loss_fn,
        num_steps=num_steps,
        batch_size=batch_size,
        adapt_only=adapt_only,
        gradient="first_order" if first_order else gradient,
        remat=remat,
        truncate=truncate,
    )

    def init(key: Key, task: Task) -> Variables:
        k_model, *keys = jax.random.split(key, 4)
        variables = model.init(k_model, task.support.x)
        gate = lambda key: layers.dense_init(key, hidden + 2, 1, scale=0.01)
        gates = {"lstm": layers.lstm_init(keys[0], 4, hidden), "write": gate(keys[1]), "forget": gate(keys[2])}
        for name, start in (("write", init_lr), ("forget", 1 - init_decay)):
            gates[name]["bias"] += jax.scipy.special.logit(start)
        return Variables({"model": variables.params, "gates": gates}, variables.state)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        rule = gated(meta.params["gates"])
        return steps(Variables(meta.params["model"], meta.state), rule, support, key, train=train)

    return episodic(init, adapt, fast_weights(model), loss_fn, keeps_state=model.keeps_state)


def gated(gates: PyTree) -> optax.GradientTransformationExtraArgs:
    """Return the trained LSTM as an optax transformation; ``update`` also takes the loss, as ``value``."""

    def start(params: PyTree) -> tuple[layers.Cell, jax.Array, jax.Array]:
        flat, _ = update_rules.flatten(params)
        return layers.lstm_start(gates["lstm"], flat.size, dtype=flat.dtype), jnp.zeros_like(flat), jnp.zeros_like(flat)

    def update(gates: PyTree, updates: PyTree, state: Any, params: PyTree = None, **extra: Any) -> tuple[PyTree, Any]:
        cell, write, forget = state
        (g, restore), (c, _) = update_rules.flatten(updates), update_rules.flatten(params)
        loss = update_rules.log_and_sign(jnp.full(g.shape, extra["value"], g.dtype))
        cell = layers.lstm(gates["lstm"], cell, jnp.concatenate([update_rules.log_and_sign(g), loss], -1))
        gate = lambda name, last: jax.nn.sigmoid(
            layers.dense(gates[name], jnp.concatenate([cell[0], c[:, None], last[:, None]], -1))[:, 0]
        )
        write, forget = gate("write", write), gate("forget", forget)
        return restore((forget - 1) * c - write * g), (cell, write, forget)

    return optax.GradientTransformationExtraArgs(start, partial(update, gates))
