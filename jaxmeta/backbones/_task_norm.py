"""TaskNorm: the support set's moments, blended with those of each example.

Bronskill, Gordon, Requeima, Nowozin and Turner, 2020, https://arxiv.org/abs/2003.03284
"""

import jax
import jax.numpy as jnp
from flax import linen


class TaskNorm(linen.Module):
    r"""Normalise by $\mu = \alpha \mu_S + (1 - \alpha) \mu_x$ and the matching variance, with a learned $\alpha$.

    $\mu_S, \sigma_S^2$ are BatchNorm's moments of each channel, by the model's policy: with ``norm="support"`` those of
    the support set, so that queries do not see each other. $\mu_x, \sigma_x^2$ are the example's own, over its places
    for images (instance normalisation), over its features for vectors. The variance is
    $\alpha (\sigma_S^2 + (\mu_S - \mu)^2) + (1 - \alpha) (\sigma_x^2 + (\mu_x - \mu)^2)$, and
    $\alpha = \mathrm{sigmoid}(a)$ with a number $a$ a layer. The blend is made on values that BatchNorm has normalised,
    where $\mu_S = 0$ and $\sigma_S^2 = 1$. Left out: the dependence of $\alpha$ on the size of the support set.

    Attributes:
      init_blend: $a$ at the start.
      epsilon: added to the variance.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_linen(linen.Sequential([linen.Dense(4), TaskNorm(), linen.relu]), norm="support")
      >>> learner = jm.protonet(model)
    """

    init_blend: float = 0.0
    epsilon: float = 1e-5

    @linen.compact
    def __call__(self, x: jax.Array, use_running_average: bool | None = None) -> jax.Array:
        norm = linen.BatchNorm(use_running_average, use_scale=False, use_bias=False, name="batch")
        z, width = norm(x), x.shape[-1]
        alpha = jax.nn.sigmoid(self.param("blend", lambda key: jnp.float32(self.init_blend))).astype(z.dtype)
        scale = self.param("scale", linen.initializers.ones, (width,))
        bias = self.param("bias", linen.initializers.zeros, (width,))
        axes = tuple(range(1, x.ndim - 1)) or (-1,)
        own, spread = z.mean(axes, keepdims=True), z.var(axes, keepdims=True)
        mean = (1 - alpha) * own
        variance = alpha * (1 + mean**2) + (1 - alpha) * (spread + (own - mean) ** 2)
        z = (z - mean) * jax.lax.rsqrt(variance + self.epsilon)
        lead = (1,) * (x.ndim - 1)
        return z * scale.reshape(*lead, width).astype(z.dtype) + bias.reshape(*lead, width).astype(z.dtype)
