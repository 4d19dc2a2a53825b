"""Measure the time per step of `fit` on small models against a `lax.scan` written by hand, in turns.

    python benchmarks/small_models.py

MAML with one inner step of 0.01 and Adam outside, on tasks that are drawn within the step: a sinusoid MLP (25 tasks), a
linear model and a two-layer GRU. The loop by hand uses the same network and tasks, and none of the library's steps.
Both are compiled before. The time of `fit` is that between its first and its last report, every 50 steps.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import _report
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmeta as jm

TASKS, EVERY, RATE = 25, 50, 0.01
OPTIMIZER = optax.adam(1e-3)


class Gru(nn.Module):
    """Two layers of 16 units over a sequence [N, L, 1], and a number from the last state."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.RNN(nn.GRUCell(16))(x)
        return nn.Dense(1)(x[:, -1])


def sums(key: jax.Array) -> jm.Task:
    """Draw a task whose targets are sums of sequences, times the task's own factor."""
    k_factor, *k_x = jax.random.split(key, 3)

    def batch(key: jax.Array) -> jm.Batch:
        x = jax.random.normal(key, (10, 8, 1))
        return jm.Batch(x, x.sum(1) * jax.random.normal(k_factor))

    return jm.Task(*map(batch, k_x))


def line(variables: jm.Variables, x: jax.Array, *, key: Any = None) -> jax.Array:
    """Return a linear function of x."""
    return x @ variables.params["w"] + variables.params["b"]


WORKS: dict[str, tuple[jm.Model, Any]] = {
    "sinusoid MLP": (jm.from_linen(jm.backbones.MLP((40, 40), num_outputs=1)), jm.tasks.sinusoid()),
    "linear model": (
        jm.from_functions(lambda key, x: jm.Variables({"w": jnp.zeros((1, 1)), "b": jnp.zeros(1)}), line),
        jm.tasks.sinusoid(),
    ),
    "2-layer GRU": (jm.from_linen(Gru()), sums),
}


def by_hand(model: jm.Model, sampler: Any) -> Callable[..., Any]:
    """Return ``(params, opt_state, key, num_steps) -> (params, opt_state, losses)``, one compiled scan."""

    def mse(params: Any, batch: jm.Batch) -> jax.Array:
        return jnp.mean((model.apply(jm.Variables(params), batch.x)[0] - batch.y) ** 2)

    def loss(params: Any, task: jm.Task) -> jax.Array:
        grads = jax.grad(mse)(params, task.support)
        return mse(jax.tree.map(lambda p, g: p - RATE * g, params, grads), task.query)

    def step(key: jax.Array, carry: tuple[Any, Any], i: jax.Array) -> tuple[tuple[Any, Any], jax.Array]:
        params, opt_state = carry
        tasks = jax.vmap(sampler)(jax.random.split(jax.random.fold_in(key, i), TASKS))
        value = lambda params: jax.vmap(partial(loss, params))(tasks).mean()
        now, grads = jax.value_and_grad(value)(params)
        updates, opt_state = OPTIMIZER.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), now

    def run(params: Any, opt_state: Any, key: jax.Array, num_steps: int) -> Any:
        return jax.lax.scan(partial(step, key), (params, opt_state), jnp.arange(num_steps))

    return jax.jit(run, static_argnums=3)


def measure(name: str, steps: int, turns: int) -> dict[str, Any]:
    """Time both in turns, and return the row of a work."""
    model, sampler = WORKS[name]
    learner = jm.maml(model, jm.losses.mse, inner_optimizer=optax.sgd(RATE), num_steps=1)
    state = jm.init(learner, sampler, OPTIMIZER, key=jax.random.key(0))
    run = by_hand(model, sampler)

    def library() -> float:
        times: list[float] = []
        mark = lambda progress: times.append(time.perf_counter())
        jm.fit(
            learner, sampler, OPTIMIZER, state,
            num_steps=steps + EVERY, tasks_per_step=TASKS, log_every=EVERY, callbacks=[mark],
        )  # fmt: skip
        return (times[-1] - times[0]) / steps

    def hand() -> float:
        begin = time.perf_counter()
        jax.block_until_ready(run(state.meta.params, state.opt_state, state.key, steps))
        return (time.perf_counter() - begin) / steps

    library(), hand()
    both = np.array([(library(), hand()) for _ in range(turns)])
    low, ratio, high = np.percentile(both[:, 0] / both[:, 1], (25, 50, 75))
    fit_ms, hand_ms = 1e3 * np.median(both, 0)
    return {
        "work": name, "fit, ms a step": round(float(fit_ms), 4), "by hand, ms a step": round(float(hand_ms), 4),
        "ratio": round(float(ratio), 3), "spread": round(float(high - low) / 2, 3), "turns": turns, "steps": steps,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    rows = [measure(name, options.steps, options.turns) for name in WORKS]
    _report.write(
        "small_models", rows, ["The ratio is the median over turns; the spread is half its interquartile range."]
    )
