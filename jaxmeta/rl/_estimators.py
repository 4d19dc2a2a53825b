r"""Surrogate objectives of a policy: functions whose derivatives estimate those of the expected return.

Each maps ``(log_probs, episodes, advantages)``, all ``[E, H]``, to the mean over steps of $c_t A_t$, to be maximised.
They agree in value up to a constant and in the first derivative. They differ in the second, which MAML needs:

* `dice` is unbiased in every order: $c_t = \exp(\sum_{k \le t} l_k) - \exp(\sum_{k < t} l_k)$ with
  $l_k = \log \pi(a_k) - \log \pi_{old}(a_k)$. High variance. Foerster et al., 2018, https://arxiv.org/abs/1802.05098,
  in the form for advantages of Farquhar et al., 2019, https://arxiv.org/abs/1909.10549.
* `low_variance` leaves out the products of scores of different steps: $c_t = \exp(l_t)$. A biased second derivative
  with little variance. Rothfuss et al., 2019, https://arxiv.org/abs/1810.06784.
* `log_likelihood` leaves out all products of scores: $c_t = \log \pi(a_t)$. It is what the first experiments with
  MAML used (Finn et al., 2017, https://arxiv.org/abs/1703.03400); its second derivative is biased even for one step.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ._rollout import Episodes

Estimator = Callable[[jax.Array, Episodes, jax.Array], jax.Array]


def dice(log_probs: jax.Array, episodes: Episodes, advantages: jax.Array) -> jax.Array:
    """Return the objective whose derivatives of every order are unbiased."""
    change = jnp.where(episodes.weight > 0, log_probs - episodes.log_probs, 0)
    total = jnp.cumsum(change, -1)
    return mean_over_steps((jnp.exp(total) - jnp.exp(total - change)) * advantages, episodes)


def low_variance(log_probs: jax.Array, episodes: Episodes, advantages: jax.Array) -> jax.Array:
    """Return the objective of the low-variance curvature estimator: importance weights of single steps."""
    return mean_over_steps(jnp.exp(log_probs - episodes.log_probs) * advantages, episodes)


def log_likelihood(log_probs: jax.Array, episodes: Episodes, advantages: jax.Array) -> jax.Array:
    """Return the objective of plain policy gradients, whose second derivative is biased."""
    return mean_over_steps(log_probs * advantages, episodes)


def mean_over_steps(values: jax.Array, episodes: Episodes) -> jax.Array:
    """Return the mean of ``[E, H]`` over the steps up to the ends of the episodes."""
    return (values * episodes.weight).sum() / episodes.weight.sum()


ESTIMATORS: dict[str, Estimator] = {"dice": dice, "low_variance": low_variance, "log_likelihood": log_likelihood}
