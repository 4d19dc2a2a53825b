"""Mixed-mode gradients: a gradient function whose own derivative is forward over reverse."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from .linear import Map, linear
from .types import PyTree


def mixed_value_and_grad(f: Callable, *, moves_value: bool = True) -> Callable:
    r"""Return ``inputs -> ((value, aux), grads)`` of ``f``, by a rule whose derivative is forward over reverse.

    Let $J$ be the Jacobian of the gradient in the inputs that carry a tangent. A tangent $t$ gives $J t$, a JVP of
    the gradient. Second derivatives commute, so $J^T v$ is a JVP too: that of the gradient in these inputs, along
    $v$ in the parameters. The backward pass therefore keeps the inputs of a step and nothing else.

    Args:
      f: ``inputs -> (value, aux)``; gradients are in the first input. ``aux`` is not differentiated.
      moves_value: whether the value has a derivative; else it is a constant.
    """

    @jax.custom_jvp
    def value_and_grad(*inputs: PyTree) -> tuple[tuple[jax.Array, PyTree], PyTree]:
        (value, aux), grads = jax.value_and_grad(f, has_aux=True)(*inputs)
        # Of vmapped inputs, all tangents below are batched. A gradient must be too, even one that no batched input
        # reaches (that of an unused head): a loop takes the batching of both from the gradient.
        leaves, treedef = jax.tree.flatten((value, grads))
        value, grads = treedef.unflatten(linear(_same, _same, jax.tree.leaves(inputs), leaves))
        return (value, aux), grads

    def rule(inputs: tuple, tangents: tuple) -> tuple[tuple, tuple]:
        (value, aux), grads = value_and_grad(*inputs)
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

        def at_leaves(at: list) -> Callable:
            return lambda moved: f(*treedef.unflatten(_replace(at, moving, moved)))[0]

        def slope(at: list, t: list) -> list:
            return [jax.jvp(at_leaves(at), ([at[i] for i in moving],), (t,))[1]]

        def slope_transposed(at: list, v: list) -> list:
            return jax.vjp(at_leaves(at), [at[i] for i in moving])[1](v[0])[0]

        along = list(dots.values())
        dot = linear(second(params, moving), second(moving, params), leaves, along)
        zero = partial(zero_from_primal, symbolic_zeros=True)
        moved = linear(slope, slope_transposed, leaves, along)[0] if moves_value else zero(value)
        return ((value, aux), grads), ((moved, zero(aux)), to_params.unflatten(dot))

    value_and_grad.defjvp(rule, symbolic_zeros=True)
    return value_and_grad


def _same(_: list, t: list) -> list:
    return t


def _replace(leaves: list, where: Sequence[int], values: list) -> list:
    new = dict(zip(where, values, strict=True))
    return [new.get(i, leaf) for i, leaf in enumerate(leaves)]
