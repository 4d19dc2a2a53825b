r"""Trust-region policy optimisation: Schulman et al., 2015, https://arxiv.org/abs/1502.05477.

One update maximises a surrogate $L(\theta)$ subject to a mean divergence $D(\theta_{old}, \theta) \le \delta$: the step
$s = F^{-1} \nabla L$, with $F$ the Hessian of $D$ at $\theta_{old}$, is scaled to $\sqrt{2 \delta / s^T F s}$ and
shortened until $D \le \delta$ and $L$ has grown.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ..implicit import conjugate_gradient
from ..types import PyTree

DAMPING = 1e-5


def trust_region(
    objective: Callable[[PyTree], jax.Array],
    divergence: Callable[[PyTree], jax.Array],
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
      divergence: ``params -> scalar``, 0 with gradient 0 at ``params``.
      params: where to start.
      max_kl: the bound on the divergence.
      cg_steps: conjugate-gradient steps.
      max_halvings: how often the step is shortened at most.
      shrink: by which factor.

    Returns:
      New parameters, and the metrics ``trpo/gain``, ``trpo/kl`` and ``trpo/scale`` (0 where nothing was accepted).

    Example:
      >>> start = jnp.zeros(2)
      >>> step, _ = trust_region(lambda p: p[0], lambda p: 0.5 * jnp.sum(p**2), start, max_kl=0.02, shrink=0.5)
      >>> [round(float(x), 3) for x in step]  # the divergence is 0.02 where |p| = 0.2
      [0.2, 0.0]
    """
    start, gradient = jax.value_and_grad(objective)(params)
    slope = jax.grad(divergence)

    def fisher(v: PyTree) -> PyTree:
        product = jax.jvp(slope, (params,), (v,))[1]
        return jax.tree.map(lambda f, v: f + DAMPING * v, product, v)

    direction, _ = conjugate_gradient(fisher, gradient, cg_steps)
    length = jnp.maximum(optax.tree.vdot(direction, fisher(direction)), 1e-20)
    longest = jnp.sqrt(2 * max_kl / length)

    def at(scale: jax.Array) -> PyTree:
        return jax.tree.map(lambda p, d: p + (scale * longest).astype(p.dtype) * d, params, direction)

    def measure(scale: jax.Array) -> tuple[jax.Array, jax.Array]:
        return objective(at(scale)) - start, divergence(at(scale))

    def good(gain: jax.Array, kl: jax.Array) -> jax.Array:
        return (gain > 0) & (kl <= max_kl * 1.0001)

    def again(carry: tuple[jax.Array, ...]) -> jax.Array:
        tries, _, gain, kl = carry
        return ~good(gain, kl) & (tries < max_halvings)

    def shorter(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        tries, scale, _, _ = carry
        return tries + 1, shrink * scale, *measure(shrink * scale)

    one = jnp.ones((), start.dtype)
    _, scale, gain, kl = jax.lax.while_loop(again, shorter, (jnp.zeros((), jnp.int32), one, *measure(one)))
    scale = jnp.where(good(gain, kl), scale, 0)
    metrics = {"trpo/gain": jnp.where(scale > 0, gain, 0), "trpo/kl": jnp.where(scale > 0, kl, 0), "trpo/scale": scale}
    return at(scale), metrics
