"""Networks as a user writes them, a small residual network in stock linen and in stock nnx; and a run folder."""

import jax
import jax.numpy as jnp
from flax import linen, nnx

import jaxmeta as jm
from jaxmeta.runs import Config, write_config


class LinenBlock(linen.Module):
    features: int
    strides: int = 1

    @linen.compact
    def __call__(self, x, train: bool):
        norm = lambda name: linen.BatchNorm(use_running_average=not train, momentum=0.9, name=name)
        y = linen.relu(norm("bn1")(linen.Conv(self.features, (3, 3), self.strides, use_bias=False, name="conv1")(x)))
        y = norm("bn2")(linen.Conv(self.features, (3, 3), use_bias=False, name="conv2")(y))
        if x.shape != y.shape:
            x = linen.Conv(self.features, (1, 1), self.strides, use_bias=False, name="proj")(x)
        return linen.relu(x + y)


class LinenResNet(linen.Module):
    dropout: float = 0.1

    @linen.compact
    def __call__(self, x, train: bool = True):
        x = LinenBlock(8, name="block1")(x, train)
        x = LinenBlock(16, 2, name="block2")(x, train).mean((1, 2))
        x = linen.Dropout(self.dropout, deterministic=not train)(x)
        return linen.Dense(5, name="head")(x)


class NnxBlock(nnx.Module):
    def __init__(self, fan_in, features, strides=1, *, rngs):
        self.conv1 = nnx.Conv(fan_in, features, (3, 3), strides, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(features, features, (3, 3), use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
        self.proj = nnx.Conv(fan_in, features, (1, 1), strides, use_bias=False, rngs=rngs)

    def __call__(self, x, train: bool):
        y = nnx.relu(self.bn1(self.conv1(x), use_running_average=not train))
        y = self.bn2(self.conv2(y), use_running_average=not train)
        return nnx.relu((x if x.shape == y.shape else self.proj(x)) + y)


class NnxResNet(nnx.Module):
    def __init__(self, dropout=0.1, *, rngs):
        self.block1 = NnxBlock(1, 8, rngs=rngs)
        self.block2 = NnxBlock(8, 16, 2, rngs=rngs)
        self.drop = nnx.Dropout(dropout, rngs=rngs)
        self.head = nnx.Linear(16, 5, rngs=rngs)

    def __call__(self, x, train: bool = True):
        x = self.block2(self.block1(x, train), train).mean((1, 2))
        return self.head(self.drop(x, deterministic=not train))


class LinenNet(linen.Module):
    """Dense, BatchNorm, relu, dropout, Dense; with the flags apart."""

    @linen.compact
    def __call__(self, x, *, use_running_average, deterministic):
        x = linen.Dense(8, name="fc")(x)
        x = linen.BatchNorm(use_running_average, momentum=0.9, name="bn")(x)
        x = linen.Dropout(0.5, deterministic=deterministic)(linen.relu(x))
        return linen.Dense(3, name="out")(x)


class NnxNet(nnx.Module):
    """The same without any flag in its call."""

    def __init__(self, rngs):
        self.fc = nnx.Linear(4, 8, rngs=rngs)
        self.bn = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(nnx.relu(self.bn(self.fc(x)))))


class Deep(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(2, 2, rngs=rngs) for _ in range(12)])

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return jnp.asarray(x)


def start_of_run(folder, recipe, **arguments):
    """A run folder as far as adapting needs it: the recipe's learner with its initial parameters."""
    e = jm.recipes.RECIPES[recipe](**arguments)
    task = e.train(jax.random.key(0))
    write_config(folder, Config(recipe, arguments, 0, task=jax.eval_shape(lambda: task)))
    jm.checkpoint.save(folder / "params", e.learner.init(jax.random.key(1), task))
    return folder
