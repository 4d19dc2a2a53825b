"""Modules as people write them, and flax's own wrappers: one table, one test."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables

X = jax.random.normal(jax.random.key(0), (6, 4))
Y = jnp.array([0, 1, 2, 0, 1, 2])
D = linen.Dense


def linen_net(flag: str, call: Callable) -> linen.Module:
    """A module whose ``__call__`` is ``call``."""
    call.__name__ = "__call__"  # which linen tells interceptors
    return type(flag, (linen.Module,), {"__call__": linen.compact(call)})()


def training(self, x, training):
    return D(3)(linen.Dropout(0.5, deterministic=not training)(D(8)(x)))


def is_training(self, x, is_training=False):
    return D(3)(x) + (100 * jax.random.uniform(self.make_rng("noise")) if is_training else 0.0)


def keyword_only(self, x, *, train=False):
    return D(3)(linen.Dropout(0.5, deterministic=not train)(D(8)(x)))


def always(self, x):
    return D(3)(x) + jax.random.normal(self.make_rng("sample"))


def sows(self, x):
    self.sow("intermediates", "x", x)
    self.sow("losses", "square", (x**2).mean())
    return D(3)(x)


def counts(self, x):
    counter = self.variable("counter", "n", lambda: jnp.zeros((), jnp.int32))
    counter.value += 1
    return D(3)(x)


def attends(self, x):
    return D(3)(linen.MultiHeadDotProductAttention(2, dropout_rate=0.5, deterministic=False)(x[None], x[None])[0])


class Inner(linen.Module):
    """Drops in training, by a flag with a default."""

    @linen.compact
    def __call__(self, x, train: bool = False):
        return D(3)(linen.Dropout(0.5, deterministic=not train)(D(8)(x)))


class NnxInner(nnx.Module):
    def __init__(self, rngs):
        self.a, self.b = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, train: bool = False):
        return self.b(self.drop(self.a(x), deterministic=not train))


class Attends(nnx.Module):
    def __init__(self, rngs, deterministic):
        given = {} if deterministic is None else {"deterministic": deterministic}
        self.attention = nnx.MultiHeadAttention(2, 4, dropout_rate=0.5, decode=False, rngs=rngs, **given)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.attention(x[None])[0])


class Switched(nnx.Module):
    """A module with a switch of its own, for nnx's `view`, `train` and `eval`."""

    def __init__(self, rngs):
        self.dense, self.rngs, self.deterministic = nnx.Linear(4, 3, rngs=rngs), rngs.fork(), False

    def set_view(self, deterministic=None, **kwargs):
        self.deterministic = self.deterministic if deterministic is None else deterministic

    def __call__(self, x):
        y = self.dense(x)
        return y if self.deterministic else y * jax.random.bernoulli(self.rngs.noise(), 0.5, y.shape)


class RngsAtCall(nnx.Module):
    def __init__(self, rngs):
        self.dense, self.drop = nnx.Linear(4, 3, rngs=rngs), nnx.Dropout(0.5)

    def __call__(self, x, rngs=None):
        return self.drop(self.dense(x), rngs=rngs)


class Sows(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        self.sow(nnx.Intermediate, "x", x)
        return self.dense(x)


class Case(NamedTuple):
    """A model, whether it drops in training, and whether it draws in evaluation too."""

    make: Callable[[], jm.Model]
    drops: bool = False
    draws: bool = False


def norm_and_dropout(rngs):
    layers = nnx.Linear(4, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.relu, nnx.Dropout(0.5, rngs=rngs)
    return nnx.Sequential(*layers, nnx.Linear(8, 3, rngs=rngs))


def of_linen(module: linen.Module, **rest: bool) -> Case:
    return Case(lambda: jm.from_linen(module, norm="running"), **rest)


def of_nnx(build: Callable, **rest: bool) -> Case:
    return Case(lambda: jm.from_nnx(build, norm="running"), **rest)


CASES = {
    "linen flag training": of_linen(linen_net("Training", training), drops=True),
    "linen flag is_training, a stream of its own": of_linen(linen_net("IsTraining", is_training), drops=True),
    "linen keyword only": of_linen(linen_net("KeywordOnly", keyword_only), drops=True),
    "linen stream in evaluation too": of_linen(linen_net("Always", always), drops=True, draws=True),
    "linen sow": of_linen(linen_net("Sows", sows)),
    "linen counter": of_linen(linen_net("Counts", counts)),
    "linen attention, built with deterministic=False": of_linen(linen_net("Attends", attends), drops=True),
    "linen Sequential": of_linen(linen.Sequential([D(8), linen.BatchNorm(use_running_average=False), jnp.tanh, D(3)])),
    "linen Sequential of a module with a flag": of_linen(linen.Sequential([D(4), Inner()]), drops=True),
    "linen WeightNorm": of_linen(linen.WeightNorm(Inner()), drops=True),
    "linen SpectralNorm": of_linen(linen.SpectralNorm(D(3))),
    "linen remat, static train": of_linen(linen.remat(Inner, static_argnums=(2,))(), drops=True),
    "linen jit": of_linen(linen.jit(D)(3)),
    "nnx Sequential": of_nnx(norm_and_dropout, drops=True),
    "nnx Sequential of a module with a flag": of_nnx(lambda rngs: nnx.Sequential(NnxInner(rngs)), drops=True),
    "nnx attention": of_nnx(lambda rngs: Attends(rngs, None), drops=True),
    "nnx attention, built with deterministic=False": of_nnx(lambda rngs: Attends(rngs, False), drops=True),
    "nnx attention, built with deterministic=True": of_nnx(lambda rngs: Attends(rngs, True), drops=True),
    "nnx set_view": of_nnx(Switched, drops=True),
    "nnx rngs at call": of_nnx(RngsAtCall, drops=True),
    "nnx sow": of_nnx(Sows),
    "nnx LoRALinear": of_nnx(lambda rngs: nnx.LoRALinear(4, 3, lora_rank=2, rngs=rngs)),
    "nnx ToNNX": of_nnx(lambda rngs: nnx.bridge.lazy_init(nnx.bridge.ToNNX(Inner(), rngs=rngs), X), drops=True),
}


@pytest.mark.parametrize("name", CASES)
def test_any_module(name):
    """Evaluation is deterministic, training drops, the state keeps its structure, and MAML differentiates it."""
    case = CASES[name]
    model = case.make()
    variables = model.init(jax.random.key(1), X)
    run = jax.jit(model.apply, static_argnames="train")
    evaluated = [run(variables, X, train=False, key=jax.random.key(k))[0] for k in (2, 3)]
    trained = [run(variables, X, train=True, key=jax.random.key(k)) for k in (2, 3)]
    assert np.array_equal(*evaluated) != case.draws
    assert np.allclose(trained[0][0], trained[1][0]) != case.drops
    assert jax.tree.structure(trained[0][1]) == jax.tree.structure(variables.state)

    learner = jm.maml(model, jm.losses.cross_entropy, inner_optimizer=optax.sgd(0.1), num_steps=2)
    task = Task(Batch(X, Y), Batch(X, Y))
    loss = lambda params: learner.loss(Variables(params, variables.state), task, jax.random.key(4))[0]
    jax.eval_shape(jax.grad(loss), variables.params)
