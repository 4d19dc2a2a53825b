"""LR-D2: learn features on which logistic regression, by a few Newton steps, classifies from a few examples.

Bertinetto, Henriques, Torr and Vedaldi, 2019, https://arxiv.org/abs/1805.08136
"""

import math

import jax
import jax.numpy as jnp

from ..losses import LossFn, cross_entropy
from ..types import MetaLearner, Model
from ._fitted_head import Knobs, fit_head, ridge, root


def lrd2(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    num_steps: int = 10,
    init_lambda: float = 1.0,
    init_scale: float = 1.0,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""LR-D2: $v_k = \arg\min_v \sum_i w_i \log(1 + e^{-s_{ik} \hat f_i v}) + \frac{\lambda}{2} \|v\|^2$.

    $\hat f_i$ is $f_\theta(x_i)$ and a 1 for the bias, $w_i$ its weight; $s_{ik}$ is 1 where $y_i = k$ and $-1$
    elsewhere: one class against the rest, the paper's binary problem once per way $k$. Iteratively reweighted least
    squares: every Newton step, from $v = 0$, is a ridge regression on reweighted examples, in examples or in features,
    whichever are fewer. The outputs are $\alpha \hat f v_k + \beta$; $\lambda = e^l$, $\alpha$ and $\beta$ are
    meta-learned with $\theta$, and the gradient passes all steps. The number of ways may differ between training and
    test.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`; the head is always fitted by logistic regression.
      num_steps: Newton steps; 10 usually reach rounding: see ``"head/residual"``. The authors' multi-class
        code takes 1 or 5.
      init_lambda: $\lambda > 0$ at the start.
      init_scale: $\alpha$ at the start.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Returns:
      A `MetaLearner`; `adapt` returns a `FittedHead`, and the metric ``"head/residual"`` is the largest entry of the
      objective's gradient after the last step.

    Raises:
      ValueError: if ``init_lambda`` is not positive or ``num_steps`` less than 1; in `adapt` for targets that are not
        labels, or an unknown number of ways.

    Example:
      >>> import jaxmeta as jm
      >>> learner = lrd2(jm.from_functions(lambda key, x: (), lambda variables, x: x), num_steps=1, num_ways=2)
      >>> support = jm.Batch(jnp.array([[-1.0], [1.0]]), jnp.array([0, 1]))
      >>> meta = learner.init(None, jm.Task(support, support))
      >>> (1.5 * learner.adapt(meta, support).weights[0]).round(3)  # gradient 1, Hessian 1/2 + 1
      Array([-1.,  1.], dtype=float32)
    """
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be >= 1, got {num_steps}: the head is fitted from zero.")
    if not init_lambda > 0:
        raise ValueError(f"`init_lambda` must be > 0, got {init_lambda}: its logarithm is what is learned.")
    knobs = {"log_lambda": math.log(init_lambda), "scale": init_scale, "bias": 0.0}

    def fit(
        knobs: Knobs, z: jax.Array, y: jax.Array, weight: jax.Array, ways: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        del ways  # classes do not see each other
        strength = jnp.exp(knobs["log_lambda"])
        one_class = lambda sign: irls(z, sign, weight, strength, num_steps)
        weights, residuals = jax.vmap(one_class, in_axes=1, out_axes=(1, 0))(2 * y - 1)
        return weights, residuals.max()

    return fit_head(model, loss_fn, fit, lambda task: knobs, name="lrd2", num_ways=num_ways)


def irls(
    x: jax.Array, sign: jax.Array, weight: jax.Array, strength: jax.Array | float, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    r"""Logistic regression by Newton steps from zero.

    With margins $m = x w$ and $s = \sqrt{\sigma(m) \sigma(-m)}$ a step is the ridge regression of
    $s m + \mathrm{sign} \, e^{-\mathrm{sign} \, m / 2}$ on $s x$: nothing is divided by $s$, which may vanish.

    Args:
      x: ``[N, D]``.
      sign: 1 or -1, ``[N]``.
      weight: ``[N]``.
      strength: $\lambda > 0$.
      num_steps: Newton steps.

    Returns:
      ``w [D]`` and the largest entry of the gradient there.

    Example:
      >>> w, residual = irls(jnp.array([[1.0], [-1.0]]), jnp.array([1.0, -1.0]), jnp.ones(2), 1.0, 8)
      >>> w.round(3), bool(residual < 1e-5)  # w = 2 sigmoid(-w)
      (Array([0.675], dtype=float32), True)
    """
    rows = root(weight)

    def newton(w: jax.Array, _: None) -> tuple[jax.Array, None]:
        m = jnp.clip(x @ w, -80, 80)  # beyond, the exponential would overflow before its factor vanishes
        s = jnp.exp((jax.nn.log_sigmoid(m) + jax.nn.log_sigmoid(-m)) / 2)
        target = s * m + sign * jnp.exp(-sign * m / 2)
        return ridge((rows * s)[:, None] * x, rows * target, strength), None

    w = jax.lax.scan(newton, jnp.zeros(x.shape[1], x.dtype), None, length=num_steps)[0]
    gradient = strength * w - x.T @ (weight * sign * jax.nn.sigmoid(-sign * (x @ w)))
    return w, jnp.abs(gradient).max()
