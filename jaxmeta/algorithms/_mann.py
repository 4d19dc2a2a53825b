"""MANN: a recurrent network with an external memory reads the support set, then answers queries by similarity.

Santoro, Bartunov, Botvinick, Wierstra and Lillicrap, 2016, https://arxiv.org/abs/1605.06065
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .. import layers
from ..embedding import embed, embed_support
from ..learner import episodic, mask_ways, split_key
from ..losses import LossFn, cross_entropy
from ..types import Batch, Key, MetaLearner, Model, PyTree, Task, Variables
from ._set_encoders import embedding_size, in_sequence, targets_as_inputs


class Memory(NamedTuple):
    """The memory that is carried from step to step.

    Attributes:
      slots: the memory, ``[M, S]``.
      read: each head's weights of the last reading, ``[R, M]``.
      usage: of each slot, ``[M]``.
      retrieved: the slots that were read, ``[R * S]``.
      controller: the LSTM's state.
      target: the last target, which the next step sees.
    """

    slots: jax.Array
    read: jax.Array
    usage: jax.Array
    retrieved: jax.Array
    controller: layers.Cell
    target: jax.Array


class Recall(NamedTuple):
    """The memory after the support set, the classes that are present, bool ``[W]``, and the model's state."""

    memory: Memory
    ways: jax.Array | None
    state: PyTree = ()


def mann(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    num_ways: int | None = None,
    num_slots: int = 128,
    slot_size: int = 40,
    num_heads: int = 4,
    hidden: int = 200,
    usage_decay: float = 0.99,
    strength: float | None = None,
) -> MetaLearner:
    r"""MANN: a memory written by least recent use (LRUA), read by content, and driven by a controller.

    At step $t$ an LSTM sees $x_t$, the *previous* target $y_{t-1}$ and the last reading, and gives keys $k_t$ and gates
    $\sigma(\alpha)$. Each head writes $k_t$ to where it last read or to a least used slot, cleared first:
    $w^w_t = \sigma(\alpha) w^r_{t-1} + (1 - \sigma(\alpha)) w^{lu}_{t-1}$, $M_t = M_{t-1} + w^w_t k_t^T$. It reads with
    $w^r_t = \mathrm{softmax}(\beta \cos(k_t, M_t))$; usage is $w^u_t = \gamma w^u_{t-1} + w^r_t + w^w_t$. Head $r$ of
    several takes the $r$-th least used slot. `adapt` feeds the support set, shuffled in training; every query is one
    more step from the memory that it left, so queries do not see each other.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; `jaxmeta.identity` for inputs as they are.
      loss_fn: on logits ``[N, W]`` or, for float targets ``[N, D]``, outputs of their shape.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.
      num_slots, slot_size: M and S.
      num_heads: R, heads that both write and read.
      hidden: units of the controller.
      usage_decay: $\gamma$.
      strength: $\beta$; 1 is the paper's formula, with which no slot can stand out among many. By default
        $\beta = 1 + \log(1 + e^b)$ with $b$ from the controller, as in neural Turing machines.

    Raises:
      ValueError: if there are fewer slots than heads, or the number of ways is unknown.

    Example:
      >>> import jaxmeta as jm
      >>> learner = mann(jm.identity(), num_slots=4, slot_size=3, num_heads=1, hidden=8)
      >>> support = Batch(jnp.ones((2, 5)), jnp.array([0, 1]), ways=jnp.ones(2, bool))
      >>> meta = learner.init(jax.random.key(0), Task(support, support))
      >>> learner.adapt(meta, support).memory.slots.shape
      (4, 3)
    """
    if not 1 <= num_heads <= num_slots:
        raise ValueError(f"`num_heads` must be 1 to `num_slots` = {num_slots}, a slot for each, got {num_heads}.")

    def init(key: Key, task: Task) -> Variables:
        k_model, *keys = jax.random.split(key, 6)
        variables = model.init(k_model, task.support.x)
        num_inputs = embedding_size(model, variables, task.support.x)
        num_outputs, read = targets_as_inputs(task.support, num_ways).shape[1], num_heads * slot_size
        memory = {
            "controller": layers.lstm_init(keys[0], num_inputs + num_outputs + read, hidden),
            "key": layers.dense_init(keys[1], hidden, read),
            "gate": layers.dense_init(keys[2], hidden, num_heads),
            "strength": layers.dense_init(keys[3], hidden, num_heads),
            "head": layers.dense_init(keys[4], hidden + read, num_outputs),
        }
        if strength is not None:
            del memory["strength"]
        return Variables({"model": variables.params, "memory": memory}, variables.state)

    def blank(p: PyTree) -> Memory:
        zeros = lambda *shape: jnp.zeros(shape, p["head"]["bias"].dtype)
        slots, retrieved = zeros(num_slots, slot_size), zeros(num_heads * slot_size)
        controller = layers.lstm_start(p["controller"])
        return Memory(
            slots, zeros(num_heads, num_slots), zeros(num_slots), retrieved, controller, zeros(*p["head"]["bias"].shape)
        )

    def step(p: PyTree, m: Memory, z: jax.Array) -> tuple[Memory, jax.Array]:
        hidden, _ = controller = layers.lstm(p["controller"], m.controller, jnp.concatenate([z, m.target, m.retrieved]))
        key = jnp.tanh(layers.dense(p["key"], hidden)).reshape(num_heads, slot_size)
        gate = jax.nn.sigmoid(layers.dense(p["gate"], hidden))[:, None]
        least = jax.nn.one_hot(jax.lax.top_k(-m.usage, num_heads)[1], num_slots, dtype=key.dtype)
        write = gate * m.read + (1 - gate) * least
        slots = m.slots * (1 - least.sum(0))[:, None] + write.T @ key
        sharp = strength if strength is not None else 1 + jax.nn.softplus(layers.dense(p["strength"], hidden))[:, None]
        read = jax.nn.softmax(sharp * (_unit(key) @ _unit(slots).T))
        usage = usage_decay * m.usage + read.sum(0) + write.sum(0)
        retrieved = (read @ slots).reshape(-1)
        output = layers.dense(p["head"], jnp.concatenate([hidden, retrieved]))
        return Memory(slots, read, usage, retrieved, controller, m.target), output

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Recall:
        k_order, k_model = split_key(key)
        support = in_sequence(support, k_order if train else None)
        variables, p = Variables(meta.params["model"], meta.state), meta.params["memory"]
        z, state = embed_support(model, variables, support, k_model, train=train)
        dtype = p["head"]["bias"].dtype
        present = jnp.ones(z.shape[0], bool) if support.weight is None else support.weight != 0

        def read(m: Memory, row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Memory, None]:
            z, target, present = row
            after = step(p, m, z)[0]._replace(target=target)
            return jax.tree.map(lambda new, old: jnp.where(present, new, old), after, m), None

        rows = z.astype(dtype), targets_as_inputs(support, num_ways).astype(dtype), present
        return Recall(jax.lax.scan(read, blank(p), rows)[0], support.ways, state)

    def forward(
        meta: Variables,
        adapted: Recall,
        x: PyTree,
        key: Key | None = None,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
    ):
        variables, p = Variables(meta.params["model"], adapted.state), meta.params["memory"]
        z, state = embed(model, variables, x, key, train=train, weight=weight)
        one = lambda z: step(p, adapted.memory, z)[1]
        return mask_ways(jax.vmap(one)(z.astype(p["head"]["bias"].dtype)), adapted.ways), state

    return episodic(init, adapt, forward, loss_fn, keeps_state=model.keeps_state, empty_support=True)


def _unit(x: jax.Array) -> jax.Array:
    """Scale rows to about length 1; empty slots stay zero."""
    return x * jax.lax.rsqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-6)
