"""Derivatives that stay finite where a root or a quotient has none."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, JaxprEqn

# The operations without a derivative at 0, and which of their inputs is meant.
_SINGULAR = {"sqrt": 0, "rsqrt": 0, "cbrt": 0, "pow": 0, "integer_pow": 0, "div": 1}
_OWN_RULES = ("custom_jvp_call", "custom_vjp_call")


def finite_derivatives(f: Callable[..., Any]) -> Callable[..., Any]:
    r"""Return ``f`` with the derivatives of $\sqrt{x}$, $x^p$ and $a / x$ taken as 0 where they are not finite.

    The values are those of ``f``, and so are the derivatives elsewhere. Optimizers that clip or divide by a norm choose
    with `jnp.where` what to do at zero, which mends the value but not the derivative: zero times infinity is NaN.

    Example:
      >>> length = lambda p: jnp.where(p.any(), jnp.sqrt(jnp.sum(p**2)), 0)
      >>> jax.grad(length)(jnp.zeros(2)), jax.grad(finite_derivatives(length))(jnp.zeros(2))
      (Array([nan, nan], dtype=float32), Array([0., 0.], dtype=float32))
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args, **kwargs)
        out = _evaluate(closed, *jax.tree.leaves((args, kwargs)))
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return call


def _evaluate(closed: ClosedJaxpr, *args: Any) -> list[Any]:
    jaxpr = closed.jaxpr
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))
    read = lambda v: v.val if hasattr(v, "val") else values[v]  # literals have a value
    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        if _may_be_singular(eqn):
            out = [_guarded(partial(eqn.primitive.bind, **eqn.params), _SINGULAR[eqn.primitive.name], inputs)]
        else:
            inner = eqn.params if eqn.primitive.name in _OWN_RULES else {k: _inside(v) for k, v in eqn.params.items()}
            variables = dict.fromkeys(v for v in eqn.invars if not hasattr(v, "val"))
            one = jaxpr.replace(
                constvars=[], invars=list(variables), outvars=eqn.outvars, eqns=[eqn.replace(params=inner)]
            )
            out = eval_jaxpr(one, [], *map(read, variables))
        values.update(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _inside(value: Any) -> Any:
    """Return a parameter of an operation (a branch, the body of a loop) whose programs are evaluated likewise."""
    if isinstance(value, tuple):
        return tuple(map(_inside, value))
    if isinstance(value, ClosedJaxpr):
        return jax.make_jaxpr(partial(_evaluate, value))(*value.in_avals)
    return value


def _may_be_singular(eqn: JaxprEqn) -> bool:
    place, out = _SINGULAR.get(eqn.primitive.name), cast(Any, eqn.outvars[0].aval)
    if place is None or not jnp.issubdtype(out.dtype, jnp.floating):
        return False
    return eqn.params.get("y", -1) < 0 and not hasattr(eqn.invars[place], "val")


def _guarded(operation: Callable[..., Any], place: int, inputs: list[Any]) -> jax.Array:
    @jax.custom_jvp
    def call(*inputs: Any) -> jax.Array:
        return operation(*inputs)

    def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
        ones = tuple(t if t.dtype == jax.dtypes.float0 else jnp.ones_like(t) for t in tangents)
        defined = jnp.isfinite(jax.jvp(operation, primals, ones)[1])
        elsewhere = [*primals]
        elsewhere[place] = jnp.where(defined, primals[place], 1)
        return call(*primals), jnp.where(defined, jax.jvp(operation, tuple(elsewhere), tangents)[1], 0)

    call.defjvp(rule)
    return call(*jnp.broadcast_arrays(*inputs))
