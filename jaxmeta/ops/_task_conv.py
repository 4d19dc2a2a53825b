r"""A convolution that stays fast when every task has its own kernel.

`jax.vmap` of a convolution over images and kernels becomes a *grouped* convolution, and so do its
derivatives: the slow case of every back-end. The number $\langle y, x * w \rangle$ is linear in
images $x$, kernels $w$ and outputs $y$. Its derivatives in each of the three are maps of the other two,

    to_y(x, w) = x * w        to_x(y, w): input gradient        to_w(x, y): kernel gradient

each bilinear, and each the transpose of the other two. So the three are closed under differentiation
of any order and mode, and it is enough to say how each runs when both of its operands have a task axis.
Any two of the three share one letter that is summed over or kept together,

    x [T?, N, *size, C]        w [T?, *kernel, C / G, O]        y [T?, N, *out, O]

which also is the batching rule: an axis that both operands have is merged into the task axis T; one
that only one operand has is merged into the letter which that operand shares with the result (N, C or
O), where it is only a larger dense problem. Without T they are the stock convolution and its gradients.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import core, lax
from jax._src import config
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import AxisType

from ._geometry import Geometry, channels_last, has_tasks, w_shape, x_shape, y_shape
from ._lowerings import run

LOWERINGS = ("auto", "gemm", "loop", "native")


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: Any,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """Drop-in for `jax.lax.conv_general_dilated`, fast under `vmap` over kernels.

    Made for flax: ``nn.Conv(..., conv_general_dilated=jaxmeta.ops.conv_general_dilated)``, linen or
    nnx; `from_linen` and `from_nnx` inject it into unmodified modules. Called without a `vmap` over
    kernels, it compiles to exactly the stock operation, and so do its gradients; but on a CPU to matrix
    products over a few images at a time, where those are faster (see `set_lowering`).

    Floating-point convolutions in channels-last layout (``NHWC``, ``HWIO``; any number of spatial
    dimensions, any stride, padding, dilation, feature groups) are covered. Anything else is passed on to
    `jax.lax`: other layouts, batch groups, integers, complex numbers, `out_sharding`, a
    `preferred_element_type` other than the operands', meshes with Explicit axes, `shard_map` with
    ``check_vma=True``. Over a mesh with Auto axes, a sharded batch of tasks stays where it is.

    Args and result: those of `jax.lax.conv_general_dilated`.

    >>> x, w = jnp.ones((3, 2, 5, 5, 1)), jnp.ones((3, 3, 3, 1, 4))  # three tasks
    >>> conv = partial(conv_general_dilated, window_strides=(2, 2), padding="SAME",
    ...                dimension_numbers=("NHWC", "HWIO", "NHWC"))
    >>> jax.vmap(conv)(x, w).shape
    (3, 2, 3, 3, 4)
    """
    stock = partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
        out_sharding=out_sharding,
    )
    jaxpr = jax.make_jaxpr(stock)(lhs, rhs)  # `lax` itself checks and normalises the arguments
    if typed_by_mesh(lhs, rhs) or (geo := geometry(jaxpr)) is None:
        return stock(lhs, rhs)
    return to_y(lhs, rhs, geo=geo)


def set_lowering(name: str) -> ExitStack:
    """Choose how convolutions run, wherever they are traced from now on.

    Args:
      name: ``"auto"``, by platform and shape from the measurements of ``benchmarks/task_conv.py``;
        ``"gemm"``, patches of all images and one matrix product, batched over tasks; ``"loop"``, one task after the
        other, and of a task a few images at a time; ``"native"``, exactly the operations of JAX: the stock convolution,
        and under `vmap` over kernels a grouped one.

    Returns:
      A context manager that restores the previous choice, if used in ``with``.

    The environment variable ``JAXMETA_TASK_CONV`` sets the first choice. A function that JAX has traced
    keeps the one it was traced with: choose before.
    """
    global _lowering
    if name not in LOWERINGS:
        raise ValueError(f"The lowering of a task convolution must be one of {LOWERINGS}, got {name!r}.")
    stack = ExitStack()
    stack.callback(globals().__setitem__, "_lowering", _lowering)
    _lowering = name
    return stack


_lowering = "auto"
set_lowering(os.environ.get("JAXMETA_TASK_CONV", "auto"))


def geometry(jaxpr) -> Geometry | None:
    """Reads it off the stock operation, or says that this is not one of ours."""
    *others, eqn = jaxpr.eqns
    x, w = (v.aval for v in eqn.invars)
    (y,) = jaxpr.out_avals
    p, r = eqn.params, x.ndim - 2
    if (
        others
        or tuple(p["dimension_numbers"]) != tuple(channels_last(r))
        or p["batch_group_count"] != 1
        or p["out_sharding"] is not None
        or not jnp.issubdtype(x.dtype, jnp.floating)
        or not x.dtype == w.dtype == y.dtype
        or 0 in (*x.shape, *w.shape, *y.shape)
    ):
        return None
    return Geometry(
        size=x.shape[1:-1],
        kernel=w.shape[:-2],
        out=y.shape[1:-1],
        strides=p["window_strides"],
        padding=p["padding"],
        lhs_dilation=p["lhs_dilation"],
        rhs_dilation=p["rhs_dilation"],
        groups=p["feature_group_count"],
        precision=p["precision"],
        lowering=_lowering,
    )


def typed_by_mesh(*operands) -> bool:
    """Whether types say how arrays lie on a mesh: under Explicit axes, or `shard_map` with `check_vma`."""
    types = {t for a in operands for t in jax.typeof(a).sharding.mesh.axis_types}
    return AxisType.Explicit in types or (AxisType.Manual in types and config._check_vma.value)


# The three primitives. Operands come in the order x, y, w with the result left out.

conv_p = Primitive("task_conv")  # x, w -> y
input_grad_p = Primitive("task_conv_input_grad")  # y, w -> x
kernel_grad_p = Primitive("task_conv_kernel_grad")  # x, y -> w
to_y, to_x, to_w = conv_p.bind, input_grad_p.bind, kernel_grad_p.bind

# Transposes: the cotangent comes first, and the operand that is asked for is only a placeholder.
ad.defbilinear(conv_p, lambda y, x, w, geo: to_x(y, w, geo=geo), lambda y, x, w, geo: to_w(x, y, geo=geo))
ad.defbilinear(input_grad_p, lambda x, y, w, geo: to_y(x, w, geo=geo), lambda x, y, w, geo: to_w(x, y, geo=geo))
ad.defbilinear(kernel_grad_p, lambda w, x, y, geo: to_x(y, w, geo=geo), lambda w, x, y, geo: to_y(x, w, geo=geo))


def lower(i: int, platform: str | None, ctx, *args, geo: Geometry):
    """The rule of primitive `i` on one platform."""

    devices = getattr(ctx.module_context.axis_context, "num_devices", 1)
    rule = mlir.lower_fun(partial(run, platform, devices, i, geo=geo), multiple_results=False)
    return rule(ctx, *args)


# Batching.


def letter(name: str, array: str, geo: Geometry) -> tuple[int, int]:
    """Where the axis `name` of x, y or w is, from the end, and into how many groups it is divided."""
    r = len(geo.size)
    if array == "w":
        return (-2, 1) if name == "C" else (-1, geo.groups)
    return (-r - 2, 1) if name == "N" else (-1, geo.groups)


def merge(a, d: int, axis: int, groups: int):
    """Merges the batch axis `d` of `a` into another one, just inside of its groups."""
    axis += a.ndim - 1  # of the array without `d`
    a = jnp.moveaxis(a, d, axis)
    n, m = a.shape[axis : axis + 2]
    if groups > 1:
        a = a.reshape(*a.shape[: axis + 1], groups, m // groups, *a.shape[axis + 2 :])
        a = jnp.swapaxes(a, axis, axis + 1)
    return a.reshape(*a.shape[:axis], n * m, *a.shape[axis + (3 if groups > 1 else 2) :])


def split(a, n: int, axis: int, groups: int):
    """Undoes `merge`; returns the array and its batch axis."""
    axis += a.ndim
    m = a.shape[axis] // n
    if groups > 1:
        a = a.reshape(*a.shape[:axis], groups, n, m // groups, *a.shape[axis + 1 :])
        a = jnp.swapaxes(a, axis, axis + 1)
    return a.reshape(*a.shape[:axis], n, m, *a.shape[axis + (3 if groups > 1 else 1) :]), axis


def batch(prim, names, args, dims, *, geo: Geometry):
    """The rule of the module docstring. `names` are the arrays: two operands, then the result."""
    n = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
    if None not in dims:
        a, b = (jnp.moveaxis(a, d, 0) for a, d in zip(args, dims, strict=True))
        if has_tasks(a, geo):
            return prim.bind(a, b, geo=geo), 0
        out = prim.bind(*(a.reshape(-1, *a.shape[2:]) for a in (a, b)), geo=geo)
        return out.reshape(n, -1, *out.shape[1:]), 0
    i = 0 if dims[1] is None else 1
    (shared,) = set(LETTERS[names[i]]) & set(LETTERS[names[2]])
    args = list(args)
    args[i] = merge(args[i], dims[i], *letter(shared, names[i], geo))
    return split(prim.bind(*args, geo=geo), n, *letter(shared, names[2], geo))


LETTERS = {"x": "NC", "w": "CO", "y": "NO"}
NAMES = ("xwy", "ywx", "xyw")
SHAPES = (y_shape, x_shape, w_shape)


def abstract(shape, a, b, *, geo: Geometry):
    return core.ShapedArray(shape(a, b, geo), a.dtype)


for i, prim in enumerate((conv_p, input_grad_p, kernel_grad_p)):
    prim.def_abstract_eval(partial(abstract, SHAPES[i]))
    prim.def_impl(jax.jit(prim.bind, static_argnames="geo"))
    batching.primitive_batchers[prim] = partial(batch, prim, NAMES[i])
    for platform in (None, "cpu"):
        mlir.register_lowering(prim, partial(lower, i, platform), platform=platform)
