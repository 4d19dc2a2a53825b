"""WarpGrad on y = w t x in closed form: gradients of the start and of the warp, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmeta as jm
from jaxmeta import Batch, Task, Variables


@pytest.mark.usefixtures("x64")
def test_the_outer_gradient_is_the_sum_over_single_steps():
    """L_S = (w t - 1)^2, L_Q = (w t - 3)^2: a step is t <- t - 2 a w (w t - 1)."""
    model = jm.from_functions(lambda key, x: (), lambda v, x: v.params["t"] * v.params["warp"] * x)
    task = Task(Batch(jnp.ones(1), jnp.ones(1)), Batch(jnp.ones(1), 3 * jnp.ones(1)))
    learner = jm.warpgrad(model, jm.losses.mse, inner_optimizer=optax.sgd(0.1), num_steps=3, warp_weight=0.7)
    t, w = 0.4, 1.5
    at, d_warp = [t], 0.0
    for _ in range(3):
        s = at[-1]
        new = s - 0.2 * w * (w * s - 1)
        d_new = -0.2 * (2 * w * s - 1)  # of the step, by w, with s held
        d_warp += 2 * (w * new - 3) * (new + w * d_new) / 3
        at.append(new)
    params = {"t": jnp.array(t), "warp": jnp.array(w)}
    value, grad = jax.jit(jax.value_and_grad(lambda p: learner.loss(Variables(p), task, None)[0]))(params)
    last = 2 * (w * at[3] - 3)
    np.testing.assert_allclose(grad["t"], last * w, rtol=1e-12)  # first order
    np.testing.assert_allclose(grad["warp"], 0.7 * d_warp, rtol=1e-12)
    singles = [(w * s - 3) ** 2 for s in at[1:]]
    np.testing.assert_allclose(value, (w * at[3] - 3) ** 2 + 0.7 * np.mean(singles), rtol=1e-12)
    adapted = learner.adapt(Variables(params), task.support).params
    np.testing.assert_allclose((adapted["t"], adapted["warp"]), (at[3], w), rtol=1e-12)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_steps` must be >= 1, got 0"):
        jm.warpgrad(jm.identity(), jm.losses.mse, num_steps=0)
    net = jm.from_linen(jm.backbones.MLP((4,), num_outputs=1))
    learner, task = jm.warpgrad(net, jm.losses.mse), jm.tasks.sinusoid()(jax.random.key(0))
    with pytest.raises(ValueError, match="`warp` is 'warp', which no parameter's path begins with"):
        learner.loss(learner.init(jax.random.key(0), task), task, None)
