"""Mixed-mode gradients: a gradient function whose own derivative is forward over reverse."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from .linear import Map, linear
from .types import PyTree


def mixed_grad(f: Callable) -> Callable:
    r"""Return the gradient function of ``f``, with a rule by which its derivative is forward over reverse.

    Let $J$ be the Jacobian of the gradient in the inputs that carry a tangent. A tangent $t$ gives $J t$, a JVP of
    the gradient. Second derivatives commute, so $J^T v$ is a JVP too: that of the gradient in these inputs, along
    $v$ in the parameters. The backward pass therefore keeps the inputs of a step and nothing else.
    """

    @jax.custom_jvp
    def grad_fn(*inputs: PyTree) -> tuple[PyTree, PyTree]:
        grads, aux = jax.grad(f, has_aux=True)(*inputs)
        # Of vmapped inputs, all tangents below are batched. A gradient must be too, even one that no batched input
        # reaches (that of an unused head): a loop takes the batching of both from the gradient.
        leaves, treedef = jax.tree.flatten(grads)
        return treedef.unflatten(linear(_same, _same, jax.tree.leaves(inputs), leaves)), aux

    def rule(inputs: tuple, tangents: tuple) -> tuple[tuple, tuple]:
        grads, aux = grad_fn(*inputs)
        leaves, treedef = jax.tree.flatten(inputs)
        to_params = jax.tree.structure(grads)
        dots = dict(enumerate(treedef.flatten_up_to(tangents)))
        dots = {i: dot for i, dot in dots.items() if not isinstance(dot, SymbolicZero)}  # integers and keys never move

        def second(of: Sequence[int], along: Sequence[int]) -> Map:
            """Return the JVP of the gradient in the leaves ``of``, along the leaves ``along``."""

            def product(at: list, t: list) -> list:
                def grad(moved: list) -> list:
                    here = _replace(at, along, moved)
                    loss = lambda values: f(*treedef.unflatten(_replace(here, of, values)))[0]
                    value, pull = jax.vjp(loss, [here[i] for i in of])
                    return pull(jnp.ones_like(value))[0]

                return jax.jvp(grad, ([at[i] for i in along],), (t,))[1]

            return product

        params, moving = range(to_params.num_leaves), list(dots)
        dot = linear(second(params, moving), second(moving, params), leaves, list(dots.values()))
        return (grads, aux), (to_params.unflatten(dot), zero_from_primal(aux, symbolic_zeros=True))

    grad_fn.defjvp(rule, symbolic_zeros=True)
    return grad_fn


def _same(_: list, t: list) -> list:
    return t


def _replace(leaves: list, where: Sequence[int], values: list) -> list:
    new = dict(zip(where, values, strict=True))
    return [new.get(i, leaf) for i, leaf in enumerate(leaves)]
