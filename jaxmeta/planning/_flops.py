"""Count the arithmetic of matrix products and convolutions in a traced function, with all turns of its loops.

The compiler's own count takes the body of a loop once.
"""

from math import prod

from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params


def flops(jaxpr: Jaxpr) -> int:
    """Return the floating-point operations of matrix products and convolutions, on one device inside `jax.shard_map`.

    A multiplication and an addition are two operations. Products with padding count. Of a condition the more expensive
    branch counts; of a ``while`` loop one turn, because the number of turns is unknown.

    Args:
      jaxpr: the ``.jaxpr`` of `jax.make_jaxpr` or of ``jax.jit(f).trace(...)``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> repeat = lambda w, x: jax.lax.fori_loop(0, 5, lambda i, x: w @ x, x)
      >>> flops(jax.make_jaxpr(repeat)(jnp.ones((3, 3)), jnp.ones(3)).jaxpr) == 5 * 2 * 3 * 3
      True
    """
    return sum(map(_of, _needed(jaxpr)))


def _needed(jaxpr: Jaxpr) -> list[JaxprEqn]:
    """Return the equations that a result depends on; the compiler removes the others."""
    wanted, needed = {id(v) for v in jaxpr.outvars}, []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(id(v) in wanted for v in eqn.outvars):
            needed.append(eqn)
            wanted |= {id(v) for v in eqn.invars}
    return needed


def _of(eqn: JaxprEqn) -> int:
    name, shapes = eqn.primitive.name, _shapes(eqn)
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * prod(shapes[-1]) * prod(shapes[0][d] for d in contracted)
    if name == "conv_general_dilated":
        taps = prod(shapes[1]) // shapes[1][eqn.params["dimension_numbers"].rhs_spec[0]]
        return 2 * prod(shapes[-1]) * taps // prod(eqn.params["lhs_dilation"])
    if name.startswith("task_conv"):
        return _task_conv(eqn, shapes)
    inside = [flops(jaxpr) for jaxpr in jaxprs_in_params(eqn.params)]
    if name == "cond":
        return max(inside)
    return sum(inside) * (eqn.params["length"] if name == "scan" else 1)


def _shapes(eqn: JaxprEqn) -> list[tuple[int, ...]]:
    """Return the shapes of the operands, then of the results."""
    return [getattr(v.aval, "shape", ()) for v in (*eqn.invars, *eqn.outvars)]


def _task_conv(eqn: JaxprEqn, shapes: list[tuple[int, ...]]) -> int:
    """Count one product per output ``y`` and entry of its kernel; both gradients cost the same."""
    letters = {"task_conv": "xwy", "task_conv_input_grad": "ywx", "task_conv_kernel_grad": "xyw"}
    named = dict(zip(letters[eqn.primitive.name], shapes, strict=True))
    kernel = named["w"][-len(eqn.params["geo"].kernel) - 2 : -1]
    return 2 * prod(named["y"]) * prod(kernel)
