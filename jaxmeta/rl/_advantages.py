"""Returns, advantages, and the linear baseline that most published meta-RL results used."""

import jax
import jax.numpy as jnp

from ._rollout import Episodes

RIDGE, LARGEST = 1e-5, 10.0


def discounted(rewards: jax.Array, discount: float) -> jax.Array:
    r"""Return $\sum_{k \ge t} \gamma^{k - t} r_k$ along the last axis.

    Example:
      >>> discounted(jnp.array([1.0, 1.0, 1.0]), 0.5)
      Array([1.75, 1.5 , 1.  ], dtype=float32)
    """

    def step(later: jax.Array, reward: jax.Array) -> tuple[jax.Array, jax.Array]:
        later = reward + discount * later
        return later, later

    moved = jnp.moveaxis(rewards, -1, 0)
    return jnp.moveaxis(jax.lax.scan(step, jnp.zeros_like(moved[0]), moved, reverse=True)[1], 0, -1)


def gae(rewards: jax.Array, values: jax.Array, weight: jax.Array, *, discount: float, smoothing: float) -> jax.Array:
    r"""Return generalised advantages $A_t = \sum_k (\gamma \lambda)^k \delta_{t+k}$ along the last axis.

    $\delta_t = r_t + \gamma V_{t+1} - V_t$, with $V = 0$ after the end of an episode: episodes of fixed length end
    there. With $\lambda = 1$ it is the return minus the value. Schulman et al., 2016,
    https://arxiv.org/abs/1506.02438.

    Args:
      rewards: ``[..., H]``.
      values: $V_t$, ``[..., H]``.
      weight: 1 up to the end of the episode, ``[..., H]``.
      discount: $\gamma$.
      smoothing: $\lambda$.

    Example:
      >>> gae(jnp.ones(3), jnp.zeros(3), jnp.ones(3), discount=1.0, smoothing=1.0)
      Array([3., 2., 1.], dtype=float32)
    """
    values = values * weight
    later = jnp.concatenate([values[..., 1:], jnp.zeros_like(values[..., :1])], -1)
    return discounted((rewards + discount * later - values) * weight, discount * smoothing) * weight


def linear_values(episodes: Episodes, returns: jax.Array) -> jax.Array:
    """Fit returns by ridge regression on observations, their squares and powers of time; return the fit ``[E, H]``.

    Duan et al., 2016, https://arxiv.org/abs/1604.06778 (the baseline of rllab). Steps after the end do not count.

    Args:
      episodes: of one task.
      returns: ``[E, H]``, to be predicted.
    """
    x = jnp.clip(episodes.observations, -LARGEST, LARGEST)
    time = jnp.broadcast_to(jnp.arange(x.shape[1], dtype=x.dtype)[None, :, None] / 100, (*x.shape[:2], 1))
    features = jnp.concatenate([x, x**2, time, time**2, time**3, jnp.ones_like(time)], -1)
    flat = features.reshape(-1, features.shape[-1]) * episodes.weight.reshape(-1, 1)
    gram = flat.T @ flat + RIDGE * jnp.eye(flat.shape[-1], dtype=flat.dtype)
    return features @ jnp.linalg.solve(gram, flat.T @ (returns * episodes.weight).reshape(-1))


def advantages(episodes: Episodes, *, discount: float, smoothing: float = 1.0, normalise: bool = True) -> jax.Array:
    """Return advantages over the linear baseline, ``[E, H]``; constants.

    Args:
      episodes: of one task.
      discount: of the returns.
      smoothing: lambda of `gae`.
      normalise: shift and scale them to mean 0 and variance 1 over the steps of the task.
    """
    values = linear_values(episodes, discounted(episodes.rewards, discount))
    a = gae(episodes.rewards, values, episodes.weight, discount=discount, smoothing=smoothing)
    if normalise:
        count = episodes.weight.sum()
        a = (a - (a * episodes.weight).sum() / count) * episodes.weight
        a = a / (jnp.sqrt((a**2).sum() / count) + 1e-8)
    return jax.lax.stop_gradient(a)
