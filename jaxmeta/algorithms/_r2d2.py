"""R2-D2: learn features on which ridge regression, in closed form, classifies from a few examples.

Bertinetto, Henriques, Torr and Vedaldi, 2019, https://arxiv.org/abs/1805.08136
"""

import math

import jax
import jax.numpy as jnp

from ..losses import LossFn, cross_entropy
from ..types import MetaLearner, Model, Task
from ._fitted_head import Knobs, fit_head, ridge, root


def r2d2(
    model: Model,
    loss_fn: LossFn = cross_entropy,
    *,
    init_lambda: float = 1.0,
    init_scale: float | None = None,
    num_ways: int | None = None,
) -> MetaLearner:
    r"""R2-D2: $W = \arg\min_W \frac{1}{n} \sum_i w_i \|\hat f_i W - y_i\|^2 + \lambda \|W\|^2$.

    $\hat f_i$ is $f_\theta(x_i)$ and a 1 for the bias; $y_i$ are one-hot labels, or float targets for regression;
    $w_i$ are the weights and $n$ is their sum (a mean, as in the authors' code: one $\lambda$ serves any number of
    shots). The solve is in examples or in features, whichever are fewer. The outputs are $\alpha \hat f W + \beta$;
    $\lambda = e^l$, $\alpha$ and $\beta$ are meta-learned with $\theta$, and the gradient passes the solve. The number
    of ways may differ between training and test.

    Args:
      model: the embedding ``[N, ...] -> [N, D]``; further axes are flattened.
      loss_fn: as for `maml`; the head is always fitted by least squares.
      init_lambda: $\lambda > 0$ at the start. The authors' code keeps 50, on thousands of features.
      init_scale: $\alpha$ at the start; 10 for labels, which least squares puts near 0 and 1; 1 for regression.
      num_ways: the number of classes, for support sets whose `Batch` has no ``ways``.

    Returns:
      A `MetaLearner`; `adapt` returns a `FittedHead`. The metric ``"head/residual"`` is the largest entry of half the
      objective's gradient at $W$.

    Raises:
      ValueError: if ``init_lambda`` is not positive; in `adapt` for labels without a known number of ways.

    Example:
      >>> import jaxmeta as jm
      >>> learner = r2d2(jm.from_functions(lambda key, x: (), lambda variables, x: x), num_ways=2)
      >>> support = jm.Batch(jnp.array([[-1.0], [1.0]]), jnp.array([0, 1]))
      >>> meta = learner.init(None, jm.Task(support, support))
      >>> learner.adapt(meta, support).weights.round(2)  # 1/2, halved by lambda = 1; the last row is the bias
      Array([[-0.25,  0.25],
             [ 0.25,  0.25]], dtype=float32)
    """
    if not init_lambda > 0:
        raise ValueError(f"`init_lambda` must be > 0, got {init_lambda}: its logarithm is what is learned.")

    def init_head(task: Task) -> dict[str, float]:
        labels = jnp.issubdtype(task.support.y.dtype, jnp.integer)
        scale = (10.0 if labels else 1.0) if init_scale is None else init_scale
        return {"log_lambda": math.log(init_lambda), "scale": scale, "bias": 0.0}

    def fit(
        knobs: Knobs, z: jax.Array, y: jax.Array, weight: jax.Array, ways: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        del ways  # an absent class has no examples, and its column is zero
        total = weight.sum()
        rows = root(weight / jnp.where(total == 0, 1, total))[:, None]
        x, y, strength = rows * z, rows * y, jnp.exp(knobs["log_lambda"])
        weights = ridge(x, y, strength)
        return weights, jnp.abs(x.T @ (x @ weights - y) + strength * weights).max()

    return fit_head(model, loss_fn, fit, init_head, name="r2d2", num_ways=num_ways, regresses=True)
