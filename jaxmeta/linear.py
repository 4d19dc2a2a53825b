r"""Linear maps with a transpose of their own, differentiable in both modes and to any order.

`jax.custom_vjp` has no forward mode, and inside a loop its second derivative is wrong. `jax.custom_jvp` has both modes,
but JAX derives the transpose of its rule. A rule that computes its tangents by `linear` chooses the transpose too.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Leaves = list[Any]
Map = Callable[[Leaves, Leaves], Leaves]

linear_p = Primitive("linear")
linear_p.multiple_results = True


def linear(apply: Map, transpose: Map, at: Leaves, t: Leaves) -> Leaves:
    r"""Return $J t$ for a linear map $J$ that depends on ``at``, whose transpose is computed by ``transpose``.

    Args:
      apply: ``(at, t) -> J t``, linear in ``t``. It closes over no traced value.
      transpose: ``(at, v) -> J^T v``, with the shapes of ``t``. It closes over no traced value.
      at: arrays on which the map depends. Derivatives in them are those of ``apply``, to any order.
      t: arrays of floats.

    Example:
      >>> import jax.numpy as jnp
      >>> double = lambda at, t: [2 * at[0] * t[0]]
      >>> f = lambda a, t: linear(double, double, [a], [t])[0]
      >>> jax.grad(f, (0, 1))(jnp.float32(3.0), jnp.float32(5.0))
      (Array(10., dtype=float32), Array(6., dtype=float32))
    """
    apply, transpose = (jax.jit(f, inline=True) for f in (apply, transpose))  # each is traced once
    return linear_p.bind(*at, *t, apply=apply, transpose=transpose, split=len(at))


def _apply(*args: Any, apply: Map, split: int, **_: Any) -> Leaves:
    return apply(list(args[:split]), list(args[split:]))


def _out(*avals: Any, **params: Any) -> Sequence[Any]:
    return jax.make_jaxpr(partial(_apply, **params))(*avals).out_avals


def _jvp(primals: Leaves, tangents: Leaves, *, split: int, **params: Any) -> tuple[Leaves, Leaves]:
    bind = partial(linear_p.bind, split=split, **params)
    out, parts = bind(*primals), []
    if any(not isinstance(dot, ad.Zero) for dot in tangents[split:]):
        parts.append(bind(*primals[:split], *map(ad.instantiate_zeros, tangents[split:])))
    moving = [i for i in range(split) if not isinstance(tangents[i], ad.Zero)]
    if moving:

        def plain(*values: Any) -> Leaves:
            new = dict(zip(moving, values, strict=True))
            return _apply(*[new.get(i, a) for i, a in enumerate(primals)], split=split, **params)

        parts.append(jax.jvp(plain, [primals[i] for i in moving], [tangents[i] for i in moving])[1])
    return out, parts[0] if len(parts) == 1 else list(map(ad.add_tangents, *parts))


def _transpose(cotangents: Leaves, *args: Any, apply: Map, transpose: Map, split: int) -> Leaves:
    v = map(ad.instantiate_zeros, cotangents)
    return [None] * split + linear_p.bind(*args[:split], *v, apply=transpose, transpose=apply, split=split)


def _batch(axis: Any, args: Leaves, dims: Sequence[int | None], *, apply: Map, transpose: Map, split: int) -> Any:
    if all(d is None for d in dims):
        out = linear_p.bind(*args, apply=apply, transpose=transpose, split=split)
        return out, [None] * len(out)
    t = [batching.bdim_at_front(a, d, axis.size) for a, d in zip(args[split:], dims[split:], strict=True)]
    axes, names = (list(dims[:split]), 0), {"axis_name": axis.name, "spmd_axis_name": axis.spmd_name}
    batched = lambda f: jax.jit(jax.vmap(f, axes, axis_size=axis.size, **names), inline=True)
    out = linear_p.bind(*args[:split], *t, apply=batched(apply), transpose=batched(transpose), split=split)
    return out, [0] * len(out)


linear_p.def_impl(lambda *args, **params: _apply(*args, **params))
linear_p.def_abstract_eval(_out)
mlir.register_lowering(linear_p, mlir.lower_fun(_apply, multiple_results=True))
ad.primitive_jvps[linear_p] = _jvp
ad.primitive_transposes[linear_p] = _transpose
batching.fancy_primitive_batchers[linear_p] = _batch
