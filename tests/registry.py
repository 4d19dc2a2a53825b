"""The one table of learners and the one table of kinds of task. A new algorithm adds one row."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen

import jaxmeta as jm
from jaxmeta import Batch, Task
from jaxmeta.algorithms._template import template
from jaxmeta.types import Aux, MetaLearner, Variables

KEY = jax.random.key(0)


class Row(NamedTuple):
    """make(model, loss_fn) -> learner; ``classifies``: it needs ways; ``optimizer`` outside; ``kind`` it is at home on.

    A learner at home on another kind of task than classification meets only that one: its outputs fit no other loss.
    ``world`` is a pair of samplers, to train on and to be measured on, for learners of labels that mean the same
    throughout training: where there is one, `test_learns` takes it instead of the kind's own tasks.
    """

    make: Callable[..., MetaLearner]
    classifies: bool = False
    optimizer: optax.GradientTransformation = optax.adam(1e-2)
    world: tuple[Callable[[jax.Array], Task], Callable[[jax.Array], Task]] | None = None
    kind: str = "classification"


NOISE = jnp.array([[0.3, 0.3, 3.0, 3.0]])  # two directions tell the classes apart, two are a nuisance


def labelled(key) -> Task:
    """A mini-batch from sixteen blobs that are always the same, as `tasks.batches` makes them."""
    k_label, k_noise = jax.random.split(key)
    y = jax.random.randint(k_label, (32,), 0, 16)
    means = 2 * jax.random.normal(jax.random.key(16), (16, 4))
    x = means[y] + NOISE * jax.random.normal(k_noise, (32, 4))
    return Task(None, Batch(x, y, ways=jnp.ones(16, bool)))


def unseen(key) -> Task:
    """Three new blobs with the same nuisance, 2 + 4 points each."""
    k_means, k_noise = jax.random.split(key)
    y = jnp.arange(18) // 6
    x = 2 * jax.random.normal(k_means, (3, 4))[y] + NOISE * jax.random.normal(k_noise, (18, 4))
    rows = jnp.arange(18).reshape(3, 6)
    split = lambda rows: Batch(x[rows.reshape(-1)], y[rows.reshape(-1)], ways=jnp.ones(3, bool))
    return Task(split(rows[:, :2]), split(rows[:, 2:]))


GLOBAL_LABELS = (labelled, unseen)
SGD = optax.sgd(0.1)
ONE = partial(jm.maml, inner_optimizer=SGD, num_steps=1)
PIXELS = jm.protonet(jm.from_functions(lambda key, x: (), lambda variables, x: x))  # a teacher without parameters
ATTACK = jm.attacks.pgd(radius=0.1, num_steps=2)
LEARNERS = {
    "maml": Row(partial(jm.maml, inner_optimizer=SGD, num_steps=3)),
    "maml_adam": Row(partial(jm.maml, inner_optimizer=jm.inner.adam(0.05), num_steps=2)),
    "maml_reverse": Row(partial(jm.maml, inner_optimizer=SGD, num_steps=3, gradient="reverse", remat=1)),
    "fomaml": Row(partial(jm.maml, inner_optimizer=SGD, num_steps=3, first_order=True)),
    "anil": Row(partial(jm.anil, inner_optimizer=SGD, num_steps=3)),
    "boil": Row(partial(jm.boil, inner_optimizer=SGD, num_steps=3)),
    "reptile": Row(partial(jm.reptile, inner_optimizer=SGD, num_steps=3), optimizer=optax.sgd(0.5)),
    "reptile_adam": Row(
        partial(jm.reptile, inner_optimizer=jm.inner.adam(0.02, b1=0.0), num_steps=4, batch_size=3),
        optimizer=optax.sgd(0.5),
    ),
    "maml_plus_plus": Row(partial(jm.maml_plus_plus, num_steps=2, multi_step_until=50)),
    "meta_sgd": Row(partial(jm.meta_sgd, num_steps=2)),
    "imaml": Row(partial(jm.imaml, inner_optimizer=SGD, num_steps=5, strength=1.0)),
    "cavia": Row(partial(jm.cavia, layer="body", num_steps=2)),
    "meta_curvature": Row(partial(jm.meta_curvature, inner_lr=0.1, num_steps=2)),
    "t_net": Row(partial(jm.t_net, inner_optimizer=SGD, num_steps=2)),
    "alfa": Row(partial(jm.alfa, init_lr=0.1, num_steps=2)),
    "proto_maml": Row(partial(jm.proto_maml, inner_optimizer=optax.sgd(0.02), num_steps=2), classifies=True),
    "bootstrapped": Row(partial(jm.bootstrapped, inner_optimizer=SGD, num_steps=2, num_target_steps=3)),
    "bootstrapped_kl": Row(
        partial(jm.bootstrapped, inner_optimizer=SGD, num_steps=2, num_target_steps=3, distance="kl"), classifies=True
    ),
    "learned_loss": Row(partial(jm.learned_loss, hidden=(16,), inner_optimizer=optax.sgd(1.0))),
    "warpgrad": Row(partial(jm.warpgrad, warp="body/kernel", inner_optimizer=SGD, num_steps=2)),
    "leo": Row(partial(jm.leo, latent=4, num_steps=2, num_fine_tuning=1, init_lr=0.3), classifies=True),
    "melu": Row(partial(jm.melu, embeddings="body", inner_optimizer=SGD, num_steps=2)),
    "dkt": Row(lambda model, loss_fn: jm.dkt(model), kind="distributions"),
    "dkt_labels": Row(lambda model, loss_fn: jm.dkt(model, init_noise=1.0), classifies=True),
    "alpaca": Row(partial(jm.alpaca, init_std=0.5), kind="distributions"),
    "template": Row(template),
    "protonet": Row(jm.protonet, classifies=True),
    "protonet_cosine": Row(partial(jm.protonet, distance="cosine"), classifies=True),
    "soft_kmeans": Row(jm.soft_kmeans, classifies=True),
    "matching": Row(jm.matching, classifies=True),
    "matching_full_context": Row(partial(jm.matching, full_context=True, num_steps=2), classifies=True),
    "relation": Row(partial(jm.relation, hidden=(16,)), classifies=True),
    "feat": Row(partial(jm.feat, balance=0.1), classifies=True),
    "tadam": Row(partial(jm.tadam, conditioned=["body"], hidden=8), classifies=True),
    "tim": Row(partial(jm.tim, num_steps=10, learning_rate=1e-2), classifies=True),
    "pt_map": Row(partial(jm.pt_map, num_steps=5), classifies=True),
    "simpleshot": Row(jm.simpleshot, classifies=True),
    "r2d2": Row(jm.r2d2, classifies=True),
    "lrd2": Row(jm.lrd2, classifies=True),
    "metaoptnet": Row(jm.metaoptnet, classifies=True),
    "metaoptnet_ridge": Row(partial(jm.metaoptnet, head="ridge", ridge_strength=1.0), classifies=True),
    # Combinators, over small learners. `replay` makes an outer step, not a learner: tests/algorithms/test_replay.py.
    "distill": Row(lambda model, loss_fn: jm.distill(ONE(model, loss_fn), PIXELS, Variables(())), classifies=True),
    "adversarial": Row(lambda model, loss_fn: jm.adversarial(ONE(model, loss_fn), loss_fn, attack=ATTACK)),
    "bagging": Row(lambda model, loss_fn: jm.bagging(ONE(model, loss_fn), num_members=2, bootstrap=True)),
    "boosting": Row(lambda model, loss_fn: jm.boosting(ONE(model, loss_fn), num_members=3)),
    "stacking": Row(lambda model, loss_fn: jm.stacking([ONE(model, loss_fn), template(model, loss_fn)], loss_fn)),
    "baseline": Row(jm.baseline, classifies=True, world=GLOBAL_LABELS),
    "baseline_all": Row(partial(jm.baseline, fine_tune="all", batch_size=4), classifies=True, world=GLOBAL_LABELS),
    "baseline_plus_plus": Row(jm.baseline_plus_plus, classifies=True, world=GLOBAL_LABELS),
    "rfs": Row(jm.rfs, classifies=True, world=GLOBAL_LABELS),
    "lstm": Row(partial(jm.lstm, num_steps=3, hidden=4, init_lr=0.1)),
    "mann": Row(
        partial(jm.mann, num_slots=8, slot_size=8, num_heads=2, hidden=16), classifies=True, optimizer=optax.adam(3e-2)
    ),
    "snail": Row(partial(jm.snail, filters=4, attention=((4, 4), (4, 4))), classifies=True),
    "neural_process": Row(partial(jm.neural_process, hidden=8, num_layers=2), kind="distributions"),
    "attentive_process": Row(partial(jm.neural_process, hidden=8, num_layers=2, num_heads=2), kind="distributions"),
    "transformer_process": Row(
        partial(jm.transformer_process, hidden=8, num_layers=2, num_heads=2), kind="distributions"
    ),
    "learned_optimizer": Row(
        partial(jm.learned_optimizer, rule=jm.update_rules.mlp(hidden=(8,), init_lr=0.1), num_steps=3)
    ),
}


class Net(linen.Module):
    """Dense, optional BatchNorm, tanh, dropout and a head, on a pytree of inputs flattened to [N, ..., D]."""

    num_outputs: int = 3
    norm: bool = False
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x, train: bool = False):
        x = jnp.concatenate(jax.tree.leaves(x), -1)
        x = linen.Dense(8, name="body")(x)
        if self.norm:
            x = linen.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        x = linen.Dropout(self.dropout, deterministic=not train)(jnp.tanh(x))
        return linen.Dense(self.num_outputs, name="head")(x)


class Kind(NamedTuple):
    """A kind of task: its sampler (a function of a key), a network for it, and the loss."""

    sampler: Callable[[jax.Array], Task]
    net: linen.Module
    loss_fn: Callable
    classifies: bool = False


WAYS = jnp.ones(3, bool)


def classification(key) -> Task:
    """Three Gaussian blobs, 2 + 4 points each."""
    k_means, k_noise = jax.random.split(key)
    means = 2 * jax.random.normal(k_means, (3, 1, 4))
    x = means + 0.3 * jax.random.normal(k_noise, (3, 6, 4))
    y = jnp.broadcast_to(jnp.arange(3)[:, None], (3, 6))
    split = lambda rows: Batch(x[:, rows].reshape(-1, 4), y[:, rows].reshape(-1), ways=WAYS)
    return Task(split(slice(0, 2)), split(slice(2, 6)))


def regression(key) -> Task:
    """A line through the origin with a slope of its own."""
    k_slope, k_x = jax.random.split(key)
    x = jax.random.normal(k_x, (10, 2))
    y = x @ jax.random.normal(k_slope, (2, 3))
    return Task(Batch(x[:5], y[:5]), Batch(x[5:], y[5:]))


def tokens(key) -> Task:
    """Labels for the tokens of padded sentences: [N, L] targets, weight hides the padding."""
    k_map, k_x, k_length = jax.random.split(key, 3)
    x = jax.random.normal(k_x, (8, 5, 4))
    y = jnp.argmax(x @ jax.random.normal(k_map, (4, 3)), -1)
    weight = (jnp.arange(5)[None] < jax.random.randint(k_length, (8, 1), 1, 6)).astype(jnp.float32)
    return Task(Batch(x[:4], y[:4], weight[:4], WAYS), Batch(x[4:], y[4:], weight[4:], WAYS))


def pairs(key) -> Task:
    """Ratings of (user, item) pairs, as in recommendation."""
    k_user, k_item, k_noise = jax.random.split(key, 3)
    user, item = jax.random.normal(k_user, (10, 3)), jax.random.normal(k_item, (10, 3))
    y = (user * item).sum(-1, keepdims=True) + 0.1 * jax.random.normal(k_noise, (10, 1))
    batch = lambda rows: Batch({"user": user[rows], "item": item[rows]}, y[rows])
    return Task(batch(slice(0, 5)), batch(slice(5, 10)))


KINDS = {
    "classification": Kind(classification, Net(), jm.losses.cross_entropy, classifies=True),
    "regression": Kind(regression, Net(), jm.losses.mse),
    "tokens": Kind(tokens, Net(), jm.losses.cross_entropy),
    "pairs": Kind(pairs, Net(1), jm.losses.mse),
    "distributions": Kind(regression, Net(), jm.losses.gaussian_nll),
}


def bandit(key) -> Task:
    """A two-armed bandit environment: nothing in it is a `Batch`."""
    arms = jax.random.uniform(key, (2,))
    return Task({"arms": arms}, {"arms": arms})


def bandit_learner() -> MetaLearner:
    """One policy-gradient step on 32 pulls, then the expected reward: reinforcement learning in four functions."""

    def adapt(meta, support, key=None):
        key = KEY if key is None else key
        pulls = jax.random.categorical(key, meta.params["logits"], shape=(32,))
        reward = support["arms"][pulls]
        surrogate = lambda logits: -jnp.mean(jax.nn.log_softmax(logits)[pulls] * (reward - reward.mean()))
        return meta.params["logits"] - meta.params["lr"] * jax.grad(surrogate)(meta.params["logits"])

    def value(logits, environment):
        return jax.nn.softmax(logits) @ environment["arms"]

    def loss(meta, task, key):
        adapted = adapt(meta, task.support, key)
        reward = value(adapted, task.query)
        return -reward, Aux(meta.state, {"reward": reward})

    init = lambda key, task: Variables({"logits": jnp.zeros(2), "lr": jnp.ones(())})
    predict = lambda meta, adapted, x, key=None: jax.nn.softmax(adapted)
    return MetaLearner(init, adapt, predict, loss)


def stack(sampler: Callable[[jax.Array], Any], num_tasks: int, seed: int = 0) -> Any:
    """Tasks stacked on a leading axis."""
    return jax.vmap(sampler)(jax.random.split(jax.random.key(seed), num_tasks))


# Every learner meets its own kind of task and padding; those below stand for their relatives on the other kinds.
EVERYWHERE = ("maml", "reptile", "meta_sgd")


def meets(learner: str, kind: str) -> bool:
    """Whether a learner is tried on a kind of task."""
    row = LEARNERS[learner]
    if kind == row.kind:
        return True
    if row.kind != "classification" or kind == "distributions":
        return False
    fits = KINDS[kind].classifies or not row.classifies  # prototypes need one label per example
    return fits and (kind == "tokens" or learner in EVERYWHERE)


CASES = [(learner, kind) for learner in LEARNERS for kind in KINDS if meets(learner, kind)]


# What stands for all in the quick tier; every learner meets every law in the slow one.
CORE = ("maml", "reptile", "meta_sgd", "template", "protonet", "r2d2")


def tiers(cases: list[tuple[str, str]]) -> list:
    """The same, with all learners but CORE, and further kinds of task, left to the slow tier."""
    first = {learner: kind for learner, kind in reversed(cases)}
    quick = lambda learner, kind: learner in CORE and (learner in EVERYWHERE or kind == first[learner])
    return [pytest.param(*case, marks=() if quick(*case) else pytest.mark.slow) for case in cases]


def build(learner: str, kind: str, **net_options) -> MetaLearner:
    """The learner of a row on the network of a kind of task."""
    about = KINDS[kind]
    return LEARNERS[learner].make(jm.from_linen(about.net.clone(**net_options)), about.loss_fn)
