r"""Implicit differentiation: the derivative of a solution from the equation it satisfies, not from the way to it.

A proximal solution $\phi^*(\theta)$ makes $F(\phi, \theta) = \nabla L(\phi) + \lambda (\phi - \theta)$ zero, hence
$\mathrm{d}\phi^* / \mathrm{d}\theta = \lambda (\nabla^2 L + \lambda I)^{-1}$ whatever optimizer found it. The linear
system is solved by conjugate gradients, which need products with the Hessian only.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg

from .inner import descend
from .types import PyTree


def proximal(
    loss: Callable[[PyTree], jax.Array],
    center: PyTree,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    *,
    strength: float,
    cg_steps: int,
) -> PyTree:
    r"""$\phi^* = \arg\min_\phi L(\phi) + \frac{\lambda}{2} \|\phi - \theta\|^2$, differentiated implicitly.

    The derivative is that of an exact minimum, in everything that ``loss`` closes over and in ``center``; it is
    as good as the solution is near one and the linear solve has converged. Memory does not grow with ``num_steps``.

    Args:
      loss: ``params -> scalar``, $L$; it may close over anything.
      center: $\theta$, pytree of float arrays; also where the descent starts.
      optimizer: any optax transformation; no derivative passes through it.
      num_steps: its steps.
      strength: $\lambda > 0$; large enough that $\nabla^2 L + \lambda I$ is positive definite.
      cg_steps: conjugate gradient steps of the linear solve, at most.

    Example:
      >>> loss = lambda p: 0.5 * jnp.sum((p - 3.0) ** 2)
      >>> solve = lambda c: proximal(loss, c, optax.sgd(0.5), 1, strength=1.0, cg_steps=2)
      >>> solve(jnp.array([1.0])), jax.grad(lambda c: solve(c).sum())(jnp.array([1.0]))
      (Array([2.], dtype=float32), Array([0.5], dtype=float32))
    """

    def objective(params, state, _):
        square = lambda p, c: jnp.sum((p - c).astype(jnp.promote_types(p.dtype, jnp.float32)) ** 2)
        return loss(params) + strength / 2 * sum(jax.tree.leaves(jax.tree.map(square, params, center))), state

    return jax.lax.custom_root(
        stationarity(loss, center, strength),
        jax.lax.stop_gradient(center),
        lambda _, start: descend(objective, start, optimizer, num_steps, gradient="first_order").params,
        lambda matvec, b: conjugate_gradient(matvec, b, cg_steps)[0],
    )


def stationarity(loss: Callable[[PyTree], jax.Array], center: PyTree, strength: float) -> Callable[[PyTree], PyTree]:
    r"""$\phi \mapsto \nabla L(\phi) + \lambda (\phi - \theta)$, zero at the proximal solution.

    Example:
      >>> stationarity(lambda p: 0.5 * jnp.sum((p - 3.0) ** 2), jnp.array([1.0]), 1.0)(jnp.array([2.0]))
      Array([0.], dtype=float32)
    """
    return lambda params: jax.tree.map(lambda g, p, c: g + strength * (p - c), jax.grad(loss)(params), params, center)


def conjugate_gradient(matvec: Callable[[PyTree], PyTree], b: PyTree, num_steps: int) -> tuple[PyTree, jax.Array]:
    r"""Solves $A x = b$ for symmetric positive definite $A$, and says how well.

    Differentiable in both modes: `custom_linear_solve` solves again instead of differentiating the iterations
    (`cg` on its own cannot be transposed). Works in at least float32.

    Args:
      matvec: $v \mapsto A v$ on pytrees like ``b``.
      b: pytree of float arrays.
      num_steps: steps at most; fewer where the residual reaches rounding.

    Returns:
      $x$ and the relative residual $\|A x - b\| / \|b\|$, 0 for $b = 0$.

    Example:
      >>> x, residual = conjugate_gradient(lambda v: jnp.array([2.0, 4.0]) * v, jnp.array([2.0, 2.0]), 2)
      >>> x
      Array([1. , 0.5], dtype=float32)
    """
    wide = lambda tree: jax.tree.map(lambda a: a.astype(jnp.promote_types(a.dtype, jnp.float32)), tree)
    like = lambda tree: jax.tree.map(lambda a, own: a.astype(own.dtype), tree, b)
    product, right = lambda v: wide(matvec(like(v))), wide(b)
    tol = float(jnp.finfo(jnp.result_type(*jax.tree.leaves(right))).eps)
    solve = lambda product, right: cg(product, right, tol=tol, maxiter=num_steps)[0]
    x = jax.lax.custom_linear_solve(product, right, solve, symmetric=True)
    return like(x), relative(jax.tree.map(jnp.subtract, product(x), right), right)


def relative(error: PyTree, reference: PyTree) -> jax.Array:
    """Norm of a tree relative to another's; 0 where that one is zero.

    Example:
      >>> relative([jnp.array([3.0, 4.0])], [jnp.array([10.0])])
      Array(0.5, dtype=float32)
    """
    size, scale = optax.tree.norm(error), optax.tree.norm(reference)
    return jnp.where(scale == 0, 0, size / jnp.where(scale == 0, 1, scale))
