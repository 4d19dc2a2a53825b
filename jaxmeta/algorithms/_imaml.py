"""Implicit MAML: solve a regularised inner problem, and differentiate its solution without unrolling the steps.

Rajeswaran, Finn, Kakade and Levine, 2019, https://arxiv.org/abs/1909.04630
"""

from collections.abc import Callable

import jax
import optax

from ..implicit import conjugate_gradient, proximal, relative, stationarity
from ..learner import (
    Adapted,
    batch_metrics,
    episodic,
    fast_weights,
    init_model,
    merge,
    partition,
    split_key,
    support_loss,
)
from ..losses import LossFn, batch_loss
from ..types import Aux, Batch, Key, MetaLearner, Model, PyTree, Task, Variables


def imaml(
    model: Model,
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation = optax.sgd(0.1),
    num_steps: int = 16,
    strength: float = 2.0,
    cg_steps: int = 5,
    adapt_only: Callable[[str], bool] | None = None,
) -> MetaLearner:
    r"""iMAML: $\phi^* = \arg\min_\phi L_S(\phi) + \frac{\lambda}{2} \|\phi - \theta\|^2$.

    The outer loss is $L_Q(\phi^*)$. The meta-gradient is $\lambda u$, where conjugate gradients solve
    $(\nabla^2 L_S(\phi^*) + \lambda I) u = \nabla L_Q(\phi^*)$: its time and memory do not depend on the steps
    that led to $\phi^*$, and any optimizer will do. The proximal term is in every inner step, and the linear system
    is not damped (the authors' code differs in both).

    `loss` solves the linear system in its forward pass, so that its metrics can say how exact the gradient is:
    ``"prox/residual"`` is $\|\nabla L_S(\phi) + \lambda (\phi - \theta)\|$ over $\lambda \|\phi - \theta\|$, and
    ``"cg/residual"`` that of the linear system over $\|\nabla L_Q\|$. `adapt` is differentiable too, by the same rule.
    Dropout has one mask for the whole inner problem.

    Args:
      model: the backbone.
      loss_fn: as for `maml`.
      inner_optimizer: any optax optimizer; no derivative passes through it, so Adam needs no ``eps_root``.
      num_steps: inner steps; enough to make ``"prox/residual"`` small.
      strength: $\lambda$, how strongly the solution is held to the initialisation. Where the support loss is not
        convex it must exceed the most negative curvature.
      cg_steps: conjugate gradient steps at most; enough to make ``"cg/residual"`` small.
      adapt_only: as for `maml`.

    Raises:
      ValueError: if ``num_steps`` is negative, ``strength`` or ``cg_steps`` not positive, or ``adapt_only`` chooses
        nothing.

    Example:
      >>> import jaxmeta as jm
      >>> model = jm.from_functions(lambda key, x: jax.numpy.zeros((1, 1)), lambda v, x: x @ v.params)
      >>> learner = imaml(model, jm.losses.mse, inner_optimizer=optax.sgd(0.25), num_steps=1, strength=2.0)
      >>> support = jm.Batch(jax.numpy.ones((1, 1)), jax.numpy.ones((1, 1)))
      >>> learner.adapt(Variables(jax.numpy.zeros((1, 1))), support).params  # the minimum of (p - 1)^2 + p^2
      Array([[0.5]], dtype=float32)
    """
    if num_steps < 0:
        raise ValueError(f"`num_steps` must be >= 0, got {num_steps}.")
    if cg_steps < 1:
        raise ValueError(f"`cg_steps` must be >= 1, got {cg_steps}: without a linear solve there is no meta-gradient.")
    if not strength > 0:
        raise ValueError(f"`strength` must be > 0, got {strength}: without it the solution forgets the initialisation.")
    forward = fast_weights(model)

    def problem(meta: Variables, support: Batch, key: Key | None, train: bool):
        center, frozen = partition(meta.params, adapt_only)
        objective = support_loss(model, loss_fn, support, train=train)
        return center, frozen, lambda fast: objective(merge(fast, frozen), meta.state, key)

    def adapt(meta: Variables, support: Batch, key: Key | None = None, *, train: bool = False) -> Adapted:
        center, frozen, inner = problem(meta, support, key, train)
        fast = proximal(lambda p: inner(p)[0], center, inner_optimizer, num_steps, strength=strength, cg_steps=cg_steps)
        return Adapted(merge(fast, frozen), inner(fast)[1], support.ways)

    def loss(meta: Variables, task: Task, key: Key | None = None):
        k_adapt, k_query = split_key(key)
        still = jax.lax.stop_gradient(meta)
        adapted = adapt(still, task.support, k_adapt, train=True)
        fast = partition(adapted.params, adapt_only)[0]

        def equation(meta: Variables):  # zero at the solution
            center, _, inner = problem(meta, task.support, k_adapt, True)
            return stationarity(lambda p: inner(p)[0], center, strength)

        def query(fast: PyTree, meta: Variables):
            variables = adapted._replace(params=merge(fast, partition(meta.params, adapt_only)[1]))
            outputs, state = forward(meta, variables, task.query.x, k_query, train=True, weight=task.query.weight)
            return batch_loss(loss_fn, outputs, task.query), (outputs, state)

        value, (outputs, state) = query(fast, meta)
        slope = jax.grad(lambda p: query(p, still)[0])(fast)
        product = jax.linearize(equation(still), fast)[1]
        adjoint, cg_residual = conjugate_gradient(product, slope, cg_steps)
        gap = equation(meta)(fast)
        moved = jax.tree.map(lambda p, c: strength * (p - c), fast, partition(still.params, adapt_only)[0])
        # A Lagrangian: with this adjoint its partial derivative in meta is the total derivative of the query loss.
        term = -sum(jax.tree.leaves(jax.tree.map(lambda u, g: (u * g).sum(dtype=value.dtype), adjoint, gap)))
        metrics = {"loss": value, **batch_metrics(outputs, task.query)}
        metrics |= {"prox/residual": relative(gap, moved), "cg/residual": cg_residual}
        return value + (term - jax.lax.stop_gradient(term)), Aux(state if model.keeps_state else meta.state, metrics)

    return episodic(init_model(model), adapt, forward, loss_fn, loss=loss)
