r"""Update rules with learned numbers: the parts of learned optimizers.

An `UpdateRule` makes an optax transformation from learned numbers. `mlp` and `lstm` act on every coordinate of the
parameters with the same small network, so that they fit parameters of any shape; `schedule`, `rates` and
`tuned` learn the numbers of an ordinary optimizer.

Letters: P coordinates of all parameters, n decays, F features, H hidden units.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from . import layers
from .types import Key, PyTree


class UpdateRule(NamedTuple):
    """A family of optimizers with numbers to learn.

    Attributes:
      init: ``(key, params) -> learned``, float32; ``params`` will be optimised.
      transform: ``(learned) -> optax.GradientTransformation``.
    """

    init: Callable[[Key, PyTree], PyTree]
    transform: Callable[[PyTree], optax.GradientTransformation]


class Moments(NamedTuple):
    """The state of `mlp`: the number of updates, decaying means of the gradient ``[P, n]`` and its square ``[P]``."""

    num_updates: jax.Array
    first: jax.Array
    second: jax.Array


def mlp(
    *,
    init_lr: float = 0.01,
    hidden: Sequence[int] = (32, 32),
    decays: Sequence[float] = (0.0, 0.5, 0.9, 0.99),
    square_decay: float = 0.99,
) -> UpdateRule:
    r"""Return a multilayer perceptron that chooses, for every coordinate and step, the rates of several directions.

    $u = -\sum_j \alpha (e_j + \mathrm{MLP}(f)_j) \, d_j$. The directions are means of the gradient with each decay,
    plain and divided by the root of the mean square, so SGD, momentum, RMSProp and Adam are among the rules.
    The features $f$ are the directions, scaled to be free of units, and the time. $e$ is 1 for the first direction and
    the MLP's last layer starts at zero: the untrained rule is SGD with rate $\alpha$, or with the first decay's mean.

    Args:
      init_lr: $\alpha$.
      hidden: widths of the hidden layers.
      decays: of the means of the gradient; 0 is the gradient itself.
      square_decay: of the mean of its square.

    References:
      Metz et al., 2022, https://arxiv.org/abs/2203.11860: the features, and that such small rules suffice.

    Example:
      >>> rule, params = mlp(init_lr=0.5), {"w": jnp.ones(2)}
      >>> optimizer = rule.transform(rule.init(jax.random.key(0), params))
      >>> optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)[0]
      {'w': Array([-0.5, -0.5], dtype=float32)}
    """
    _check_rate("init_lr", init_lr)
    if not decays or any(not 0 <= d < 1 for d in (*decays, square_decay)):
        raise ValueError(f"`decays` and `square_decay` must be in [0, 1), got {tuple(decays)} and {square_decay}.")
    horizons = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    num_directions = 2 * len(decays)

    def init(key: Key, params: PyTree) -> PyTree:
        del params  # every coordinate has the same network
        learned = layers.mlp_init(key, (num_directions + len(horizons), *hidden, num_directions))
        last = f"dense{len(hidden)}"
        return {**learned, last: jax.tree.map(jnp.zeros_like, learned[last])}

    def start(params: PyTree) -> Moments:
        flat, _ = flatten(params)
        zeros = jnp.zeros((flat.size, len(decays)), flat.dtype)
        return Moments(jnp.zeros((), jnp.int32), zeros, jnp.zeros_like(flat))

    def update(learned: PyTree, updates: PyTree, state: Any, params: PyTree = None, **extra: Any):
        del params, extra
        g, restore = flatten(updates)
        count, decay = state.num_updates + 1, jnp.asarray(decays, g.dtype)[None]
        first = decay * state.first + (1 - decay) * g[:, None]
        second = square_decay * state.second + (1 - square_decay) * g**2
        mean = first / (1 - decay**count)
        whitened = mean * jax.lax.rsqrt(second / (1 - square_decay**count) + 1e-12)[:, None]
        size = jax.lax.rsqrt(jnp.mean(mean**2, 0, keepdims=True) + 1e-12)
        time = jnp.tanh(count / jnp.asarray(horizons, g.dtype) - 1)
        time = jnp.broadcast_to(time[None], (g.size, time.size))
        rates = layers.mlp(learned, jnp.concatenate([mean * size, whitened, time], -1))
        chosen = rates * jnp.concatenate([mean, whitened], -1)
        return restore(-init_lr * (mean[:, 0] + chosen.sum(-1))), Moments(count, first, second)

    return UpdateRule(init, lambda learned: optax.GradientTransformationExtraArgs(start, partial(update, learned)))


def lstm(*, hidden: Sequence[int] = (20, 20), scale: float = 0.1) -> UpdateRule:
    r"""Return a recurrent network that outputs an update: $u_t = s \, w^T h_t$ with $h_t = \mathrm{LSTM}(g_t)$.

    Gradients enter as `log_and_sign`.

    Args:
      hidden: units of each layer.
      scale: $s$, small so that training starts near the initial parameters.

    References:
      Andrychowicz et al., 2016, https://arxiv.org/abs/1606.04474

    Example:
      >>> rule, params = lstm(hidden=(4,)), {"w": jnp.ones(2)}
      >>> optimizer = rule.transform(rule.init(jax.random.key(0), params))
      >>> optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)[0]["w"].shape
      (2,)
    """
    _check_rate("scale", scale)

    def init(key: Key, params: PyTree) -> PyTree:
        del params
        *keys, k_out = jax.random.split(key, len(hidden) + 1)
        cells = {
            f"lstm{i}": layers.lstm_init(k, n, h)
            for i, (k, n, h) in enumerate(zip(keys, (2, *hidden), hidden, strict=False))
        }
        return {**cells, "out": layers.dense_init(k_out, hidden[-1], 1, scale=0.1)}

    def start(learned: PyTree, params: PyTree) -> list[layers.Cell]:
        flat, _ = flatten(params)
        return [layers.lstm_start(learned[f"lstm{i}"], flat.size, dtype=flat.dtype) for i in range(len(hidden))]

    def update(learned: PyTree, updates: PyTree, state: Any, params: PyTree = None, **extra: Any):
        del params, extra
        g, restore = flatten(updates)
        x, new = log_and_sign(g), []
        for i, layer in enumerate(state):
            new.append(layers.lstm(learned[f"lstm{i}"], layer, x))
            x = new[-1][0]
        return restore(scale * layers.dense(learned["out"], x)[:, 0]), new

    def transform(learned: PyTree) -> optax.GradientTransformation:
        return optax.GradientTransformationExtraArgs(partial(start, learned), partial(update, learned))

    return UpdateRule(init, transform)


def schedule(
    num_steps: int, *, init_lr: float = 0.01, optimizer: Callable[..., optax.GradientTransformation] = optax.sgd
) -> UpdateRule:
    """Return a rule that learns a rate for each of ``num_steps`` steps; later steps keep the last.

    The learned numbers are logarithms, ``[num_steps]``.

    Args:
      num_steps: length of the schedule.
      init_lr: all rates at first.
      optimizer: makes an optimizer from a schedule: `optax.sgd`, `jaxmeta.inner.adam` ...

    Example:
      >>> rule = schedule(2, init_lr=0.5)
      >>> optimizer = rule.transform(jnp.log(jnp.array([0.5, 0.25])))
      >>> print(optimizer.update(jnp.ones(()), optimizer.init(jnp.ones(())))[0])
      -0.5
    """
    _check_rate("init_lr", init_lr)
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1, got {num_steps}.")
    init = lambda key, params: jnp.full(num_steps, jnp.log(init_lr), jnp.float32)
    at = lambda learned, count: jnp.exp(learned[jnp.minimum(count, num_steps - 1)])
    return UpdateRule(init, lambda learned: optimizer(partial(at, learned)))


def rates(*, init_lr: float = 0.01) -> UpdateRule:
    """Return a rule that learns a rate for every parameter, as logarithms in a tree like the parameters.

    It fits parameters of one shape only.

    Example:
      >>> optimizer = rates().transform({"w": jnp.log(jnp.array([0.5, 0.25]))})
      >>> optimizer.update({"w": jnp.ones(2)}, optimizer.init(None))[0]
      {'w': Array([-0.5 , -0.25], dtype=float32)}
    """
    _check_rate("init_lr", init_lr)
    init = lambda key, params: jax.tree.map(lambda p: jnp.full(p.shape, jnp.log(init_lr), jnp.float32), params)
    scaled = lambda learned, grads: jax.tree.map(lambda g, a: (-jnp.exp(a) * g).astype(g.dtype), grads, learned)
    return UpdateRule(init, lambda learned: optax.stateless(lambda grads, _: scaled(learned, grads)))


def tuned(make: Callable[[Any], optax.GradientTransformation], initial: PyTree) -> UpdateRule:
    """Return a rule that learns some numbers of any optimizer: ``make(learned)``, starting from ``initial``.

    Example:
      >>> rule = tuned(lambda lr: optax.sgd(lr), 0.5)
      >>> optimizer = rule.transform(rule.init(jax.random.key(0), None))
      >>> print(optimizer.update(jnp.ones(()), optimizer.init(jnp.ones(())))[0])
      -0.5
    """
    return UpdateRule(lambda key, params: jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), initial), make)


def log_and_sign(x: jax.Array, p: float = 10.0) -> jax.Array:
    r"""Encode numbers of any size as two of size 1, ``[...] -> [..., 2]``.

    $(\log |x| / p, \mathrm{sign}\, x)$ where $|x| \ge e^{-p}$, and $(-1, e^p x)$ below.

    References:
      Andrychowicz et al., 2016, https://arxiv.org/abs/1606.04474, appendix A.

    Example:
      >>> print(log_and_sign(jnp.array([1.0, -jnp.exp(5.0), 0.0])))
      [[ 0.   1. ]
       [ 0.5 -1. ]
       [-1.   0. ]]
    """
    size = jnp.abs(x)
    large = size >= jnp.exp(-p)
    log = jnp.where(large, jnp.log(jnp.where(large, size, 1)) / p, -1.0)
    return jnp.stack([log, jnp.where(large, jnp.sign(x), jnp.exp(p) * x)], -1)


def flatten(tree: PyTree) -> tuple[jax.Array, Callable[[jax.Array], PyTree]]:
    """Return all coordinates ``[P]`` in at least float32, and the inverse, which restores shapes and dtypes."""
    flat, restore = ravel_pytree(tree)
    return flat.astype(jnp.promote_types(flat.dtype, jnp.float32)), lambda x: restore(x.astype(flat.dtype))


def _check_rate(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"`{name}` must be a positive number, got {value!r}.")
