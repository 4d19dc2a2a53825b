r"""Trust-region policy optimisation: Schulman et al., 2015, https://arxiv.org/abs/1502.05477.

One update maximises a surrogate $L(\theta)$ subject to a mean divergence $D(\theta_{old}, \theta) \le \delta$: the step
$s = F^{-1} \nabla L$, with $F$ the Hessian of $D$ at $\theta_{old}$, is scaled to $\sqrt{2 \delta / s^T F s}$ and
shortened until $D \le \delta$ and $L$ has grown. The divergence has no slope at $\theta_{old}$, so that
$F = J^T H J$ exactly, with $J$ the Jacobian of the policies' outputs and $H$ the Hessian of the divergence in these.
The linear maps $J$ and $J^T$ are made once for all products.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from ..implicit import conjugate_gradient
from ..types import PyTree

DAMPING = 1e-5
Outputs = TypeVar("Outputs")


def trust_region(
    objective: Callable[[PyTree], jax.Array],
    outputs: Callable[[PyTree], Outputs],
    divergence: Callable[[Outputs, Outputs], jax.Array],
    params: PyTree,
    *,
    max_kl: float,
    cg_steps: int = 10,
    max_halvings: int = 15,
    shrink: float = 0.8,
) -> tuple[PyTree, dict[str, jax.Array]]:
    """Take one trust-region step; where no shortened step is good enough, the parameters stay.

    Args:
      objective: ``params -> scalar``, to be maximised.
      outputs: ``params -> outputs``, distributions of actions for instance.
      divergence: ``(old, new) -> scalar`` between outputs, 0 with gradient 0 where both are equal.
      params: where to start.
      max_kl: the bound on the divergence.
      cg_steps: conjugate-gradient steps.
      max_halvings: how often the step is shortened at most.
      shrink: by which factor.

    Returns:
      New parameters, and the metrics ``trpo/gain``, ``trpo/kl`` and ``trpo/scale`` (0 where nothing was accepted).

    Example:
      >>> start, half_square = jnp.zeros(2), lambda old, new: 0.5 * jnp.sum((new - old) ** 2)
      >>> step, _ = trust_region(lambda p: p[0], lambda p: p, half_square, start, max_kl=0.02, shrink=0.5)
      >>> [round(float(x), 3) for x in step]  # the divergence is 0.02 where |p| = 0.2
      [0.2, 0.0]
    """
    start, gradient = jax.value_and_grad(objective)(params)
    old, push = jax.linearize(outputs, params)
    pull = jax.linear_transpose(push, params)
    slope = jax.grad(lambda new: divergence(old, new))

    def fisher(v: PyTree) -> PyTree:
        product = pull(jax.jvp(slope, (old,), (push(v),))[1])[0]
        return jax.tree.map(lambda f, v: f + DAMPING * v, product, v)

    direction, _ = conjugate_gradient(fisher, gradient, cg_steps)
    length = jnp.maximum(optax.tree.vdot(direction, fisher(direction)), 1e-20)
    longest = jnp.sqrt(2 * max_kl / length)

    def at(scale: jax.Array) -> PyTree:
        return jax.tree.map(lambda p, d: p + (scale * longest).astype(p.dtype) * d, params, direction)

    def good(gain: jax.Array, kl: jax.Array) -> jax.Array:
        return (gain > 0) & (kl <= max_kl * 1.0001)

    def again(carry: tuple[jax.Array, ...]) -> jax.Array:
        tries, gain, kl = carry
        return ~good(gain, kl) & (tries <= max_halvings)

    def shorter(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        tries = carry[0]
        new = at(jnp.asarray(shrink, start.dtype) ** tries)
        return tries + 1, objective(new) - start, divergence(old, outputs(new))

    nothing = jnp.full((), -jnp.inf, start.dtype), jnp.full((), jnp.inf, start.dtype)
    tries, gain, kl = jax.lax.while_loop(again, shorter, (jnp.zeros((), jnp.int32), *nothing))
    scale = jnp.where(good(gain, kl), jnp.asarray(shrink, start.dtype) ** (tries - 1), 0)
    metrics = {"trpo/gain": jnp.where(scale > 0, gain, 0), "trpo/kl": jnp.where(scale > 0, kl, 0), "trpo/scale": scale}
    return at(scale), metrics
