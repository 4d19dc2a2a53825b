"""The task convolution against `jax.vmap` of `lax.conv_general_dilated`."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxmeta.ops import conv_general_dilated, set_lowering
from jaxmeta.ops._blocks import images_per_block
from jaxmeta.ops._lowerings import choose

LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}
T, N, C, O = 3, 2, 4, 6  # noqa: E741

# size, kernel, the other arguments
CASES = {
    "same": ((7, 6), (3, 3), {}),
    "stride_2": ((7, 6), (3, 3), dict(window_strides=(2, 2))),
    "stride_3": ((7, 8), (3, 3), dict(window_strides=(3, 3))),
    "mixed_strides": ((7, 6), (3, 3), dict(window_strides=(1, 2), padding="VALID")),
    "pointwise": ((4, 5), (1, 1), {}),
    "pointwise_stride_2": ((4, 5), (1, 1), dict(window_strides=(2, 2))),
    "even": ((6, 5), (2, 2), {}),
    "row": ((5, 6), (1, 4), dict(window_strides=(2, 1))),
    "stem": ((9, 8), (7, 7), dict(window_strides=(2, 2))),
    "valid": ((7, 6), (3, 3), dict(padding="VALID")),
    "valid_stride_2": ((8, 7), (3, 2), dict(window_strides=(2, 2), padding="VALID")),
    "asymmetric": ((5, 6), (3, 3), dict(padding=((2, 0), (0, 1)))),
    "wide_padding": ((3, 4), (2, 3), dict(padding=((3, 4), (5, 2)), window_strides=(2, 1))),
    "cropping": ((7, 8), (3, 3), dict(padding=((-1, 2), (1, -2)))),
    "whole_map": ((4, 4), (4, 4), dict(padding="VALID")),
    "atrous": ((9, 8), (3, 2), dict(rhs_dilation=(2, 3))),
    "transposed": ((4, 5), (3, 3), dict(lhs_dilation=(2, 3), padding=((1, 2), (2, 1)))),
    "groups": ((5, 6), (3, 3), dict(feature_group_count=2, window_strides=(2, 2))),
    "everything": (
        (6, 5),
        (3, 2),
        dict(
            feature_group_count=2,
            window_strides=(2, 3),
            lhs_dilation=(1, 2),
            rhs_dilation=(2, 1),
            padding=((2, -1), (0, 3)),
        ),
    ),
    "one_dimension": ((9,), (3,), dict(window_strides=(2,))),
    "three_dimensions": ((3, 4, 3), (2, 2, 2), {}),
}


def setup(case, dtype=np.float64, seed=0):
    """Our convolution, the stock one, and operands x [T, N, ...], w [T, ...] of one case."""
    size, kernel, options = CASES[case]
    rank = len(size)
    options = dict(window_strides=(1,) * rank, padding="SAME", dimension_numbers=LAYOUTS[rank]) | options
    rng = np.random.default_rng(seed)
    x = 0.5 * rng.normal(size=(T, N, *size, C))
    w = 0.5 * rng.normal(size=(T, *kernel, C // options.get("feature_group_count", 1), O))
    ours = partial(conv_general_dilated, **options)
    return ours, partial(lax.conv_general_dilated, **options), jnp.asarray(x, dtype), jnp.asarray(w, dtype)


def derivatives(f, x, w):
    """Of a loss that is not quadratic in `f`, so that second derivatives reach all primitives."""
    grad = jax.grad(lambda x, w: jnp.sum(jnp.tanh(f(x, w)) ** 2), (0, 1))
    dx, dw = jnp.sin(3 * x), jnp.cos(5 * w)

    def directional(x, w):
        gx, gw = grad(x, w)
        return jnp.vdot(gx, dx) + jnp.vdot(gw, dw)

    return {
        "value": f(x, w),
        "gradient": grad(x, w),
        "reverse over reverse": jax.grad(directional, (0, 1))(x, w),
        "forward over reverse": jax.jvp(grad, (x, w), (dx, dw))[1],
    }


def assert_close(actual, expected, tolerance=1e-10):
    def check(a, b):
        assert a.dtype == b.dtype and a.shape == b.shape
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.max(np.abs(b), initial=1e-30))

    jax.tree.map(check, actual, expected)


@pytest.mark.parametrize("case", CASES)
def test_derivatives(case, x64):
    ours, stock, x, w = setup(case)
    expected = jax.jit(partial(derivatives, jax.vmap(stock)))(x, w)
    for lowering in ("gemm", "loop"):
        with set_lowering(lowering):
            actual = jax.jit(partial(derivatives, jax.vmap(lambda x, w: ours(x, w))))(x, w)
        assert_close(actual, expected)


@pytest.mark.parametrize("case", ("stride_2", "everything"))
def test_native_lowering(case, x64):
    ours, stock, x, w = setup(case)
    with set_lowering("native"):
        actual = jax.jit(partial(derivatives, jax.vmap(ours)))(x, w)
    assert_close(actual, jax.jit(partial(derivatives, jax.vmap(stock)))(x, w))


@pytest.mark.parametrize("case", ("stride_2", "everything", "atrous"))
@pytest.mark.parametrize("num_tasks", (1, T))
def test_maps_larger_than_the_cache(case, num_tasks, x64, monkeypatch):
    """Then `auto` takes one task after the other on a CPU, and blocks of images for the kernel gradient."""
    monkeypatch.setattr("jaxmeta.ops._lowerings.CACHE", 1)
    ours, stock, x, w = setup(case)
    x, w = x[:num_tasks], w[:num_tasks]
    assert_close(
        jax.jit(partial(derivatives, jax.vmap(ours)))(x, w), jax.jit(partial(derivatives, jax.vmap(stock)))(x, w)
    )


@pytest.mark.parametrize("case", CASES)
def test_one_kernel_for_all_in_blocks_of_images(case, x64, monkeypatch):
    """Where tasks share the kernel, a CPU takes a few images at a time: here one, or as few as make enough rows."""
    monkeypatch.setattr("jaxmeta.ops._blocks.BLOCK", 1)
    ours, stock, x, w = setup(case)
    x = jnp.concatenate([*x, jnp.sin(x[0, :1])])  # 7 images
    expected = jax.jit(partial(derivatives, stock))(x, w[0])
    with set_lowering("loop"):
        assert_close(jax.jit(partial(derivatives, lambda x, w: ours(x, w)))(x, w[0]), expected)


@pytest.mark.parametrize("num_images, block", [(7, 4), (8, 4), (9, 3), (3, 3)])
def test_blocks_of_images(num_images, block, x64, monkeypatch):
    """Four fit: of 7 images three are left over, 9 are divided evenly into blocks of three."""
    ours, stock, x, w = setup("same")
    monkeypatch.setattr("jaxmeta.ops._blocks.BLOCK", 4 * 7 * 6 * 3 * C * 8)
    x = jnp.concatenate([*x, jnp.sin(x[0]), jnp.cos(x[0])])[:num_images]
    assert images_per_block(num_images, w[0].shape, x.dtype, read_geometry(ours, x, w[0])) == block
    with set_lowering("loop"):
        actual = jax.jit(partial(derivatives, lambda x, w: ours(x, w)))(x, w[0])
    assert_close(actual, jax.jit(partial(derivatives, stock))(x, w[0]))


@pytest.mark.parametrize("lowering", ("gemm", "loop"))
def test_one_kernel_for_all_in_bfloat16(lowering):
    """Sums over blocks are in float32: half precision would lose what the later blocks add."""
    ours, stock, x, w = setup("same", jnp.bfloat16)
    x, w = jnp.ones((512, *x.shape[2:]), jnp.bfloat16), w[0]
    kernel_grad = lambda f, x, w: jax.grad(lambda w: jnp.sum(f(x, w).astype(jnp.float32)))(w)
    exact = kernel_grad(stock, x.astype(jnp.float32), w.astype(jnp.float32)).astype(jnp.bfloat16)
    with set_lowering(lowering):
        assert_close(kernel_grad(lambda x, w: ours(x, w), x, w), exact, 1e-2)


@pytest.mark.parametrize("case", ("same", "stride_2", "groups"))
def test_float32(case):
    ours, stock, x, w = setup(case, np.float32)
    actual = jax.jit(partial(derivatives, jax.vmap(ours)))(x, w)
    assert_close(actual, jax.jit(partial(derivatives, jax.vmap(stock)))(x, w), 1e-5)


@pytest.mark.parametrize("case", ("stride_2", "groups"))
def test_bfloat16_stays_and_is_as_exact_as_stock(case):
    ours, stock, x, w = setup(case, jnp.bfloat16)
    actual = jax.jit(partial(derivatives, jax.vmap(ours)))(x, w)
    exact = jax.jit(partial(derivatives, jax.vmap(stock)))(x.astype(jnp.float32), w.astype(jnp.float32))
    exact = jax.tree.map(lambda a: a.astype(jnp.bfloat16), exact)
    assert_close(actual["value"], exact["value"], 1e-2)
    assert_close(actual, exact, 6e-2)


@pytest.mark.parametrize("case", ("stride_2", "everything"))
@pytest.mark.parametrize("in_axes", [(0, 0), (0, None), (None, 0), (1, 0), (2, 1), (-1, -1), (None, 2)])
def test_any_batch_axes(case, in_axes, x64):
    ours, stock, x, w = setup(case)
    x, w = (a[0] if d is None else jnp.moveaxis(a, 0, d) for a, d in zip((x, w), in_axes, strict=True))

    @partial(jax.jit, static_argnums=0)
    def run(f, x, w):
        grad = jax.grad(lambda *a: jnp.sum(f(*a) ** 3), (0, 1))
        return jax.vmap(f, in_axes)(x, w), jax.vmap(grad, in_axes)(x, w)

    assert_close(run(ours, x, w), run(stock, x, w))


@pytest.mark.parametrize("case", ("stride_2", "everything"))
@pytest.mark.parametrize("outer", [(0, 0), (0, None), (None, 0)])
@pytest.mark.parametrize("inner", [(0, 0), (0, None), (None, 0)])
def test_nested_vmap(case, outer, inner, x64):
    """Seeds x tasks, and axes that only one operand has inside or outside of the tasks."""
    ours, stock, x, w = setup(case)
    x, w = (a if i == 0 else a[0] for a, i in zip((x, w), inner, strict=True))
    x, w = (jnp.stack([a, jnp.sin(a)]) if o == 0 else a for a, o in zip((x, w), outer, strict=True))

    @partial(jax.jit, static_argnums=0)
    def run(f, x, w):
        nested = lambda f: jax.vmap(jax.vmap(f, inner), outer)
        grad = lambda f: jax.grad(lambda *a: jnp.sum(f(*a) ** 3), (0, 1))
        return nested(f)(x, w), nested(grad(f))(x, w), grad(nested(f))(x, w)

    assert_close(run(ours, x, w), run(stock, x, w))


@pytest.mark.parametrize("name", ("x", "w", "y"))
def test_jacobian(name, x64):
    """Cotangents and tangents with an axis that no operand has."""
    ours, stock, x, w = setup("groups")
    for jacobian in (jax.jacrev, jax.jacfwd):
        if name == "y":
            hessian = lambda f: jax.hessian(lambda w: jnp.sum(f(x[0], w) ** 3))(w[0])
            assert_close(hessian(ours), hessian(stock))
        else:
            argnum = "xw".index(name)
            assert_close(jacobian(ours, argnum)(x[0], w[0]), jacobian(stock, argnum)(x[0], w[0]))


def sgd(f, x, w, *, remat):
    """Three inner steps as the library takes them: `vmap` of a scan of gradients, differentiated."""

    def task(x, w):
        inner = lambda w: jnp.sum(jnp.tanh(f(x, w)) ** 2)

        def step(w, _):
            return w - 0.1 * jax.grad(inner)(w), None

        w, _ = lax.scan(jax.checkpoint(step) if remat else step, w, length=3)
        return inner(w)

    return jax.value_and_grad(lambda w: jnp.mean(jax.vmap(task, (0, None))(x, w)))(w)


@pytest.mark.parametrize("remat", (False, True))
def test_scan_and_checkpoint(remat, x64):
    ours, stock, x, w = setup("stride_2")
    run = lambda f: jax.jit(partial(sgd, f, remat=remat))(x, w[0])
    assert_close(run(ours), run(stock))


def test_custom_vjp_forward_over_reverse(x64):
    """The mixed mode of the inner loop: the backward pass is a tangent of the gradient."""
    ours, stock, x, w = setup("stride_2")

    def mixed(f):
        gradient = lambda w, x: jax.grad(lambda w: jnp.sum(jnp.tanh(f(x, w)) ** 2))(w)
        joint = lambda w, x: jax.grad(lambda w, x: jnp.sum(jnp.tanh(f(x, w)) ** 2), (0, 1))(w, x)
        mixed = jax.custom_vjp(gradient)
        forward = lambda w, x: (gradient(w, x), (w, x))
        backward = lambda r, v: jax.jvp(lambda w: joint(w, r[1]), (r[0],), (v,))[1]
        mixed.defvjp(forward, backward)
        return lambda x, w: jnp.sum(f(x, w - 0.1 * mixed(w, x)) ** 2)

    grad = lambda f: jax.jit(jax.grad(lambda w, x: jnp.sum(jax.vmap(mixed(f), (0, None))(x, w))))
    assert_close(grad(ours)(w[0], x), grad(stock)(w[0], x))


def test_eager_equals_jit(x64):
    ours, _, x, w = setup("everything")
    assert_close(jax.vmap(ours)(x, w), jax.jit(jax.vmap(ours))(x, w))


def read_geometry(f, x, w):
    return jax.make_jaxpr(lambda x, w: f(x, w))(x, w).eqns[0].params["geo"]


def compiled_text(f, *args, platforms=("cpu",)):
    return jax.jit(f).trace(*args).lower(lowering_platforms=platforms).as_text()


@pytest.mark.parametrize("platform, lowering", [("cpu", "native"), ("cuda", "auto"), ("tpu", "auto")])
@pytest.mark.parametrize("case", ("stride_2", "everything", "one_dimension"))
def test_without_tasks_it_is_the_stock_convolution(case, platform, lowering):
    ours, stock, x, w = setup(case, np.float32)

    def both(f):
        def run(x, w):
            return f(x, w), jax.grad(lambda *a: jnp.sum(f(*a) ** 2), (0, 1))(x, w)

        return run

    with set_lowering(lowering):
        text = compiled_text(both(lambda x, w: ours(x, w)), x[0], w[0], platforms=(platform,))
    assert text == compiled_text(both(stock), x[0], w[0], platforms=(platform,))


def test_on_a_cpu_no_window_is_as_large_as_the_image():
    """The kernel gradient of the stock operation is such a convolution, and several times slower than the others."""
    ours, stock, x, w = setup("stride_2", np.float32)
    gradient = lambda f: compiled_text(jax.grad(lambda w, x: jnp.sum(f(x, w) ** 2)), w[0], x[0])
    assert gradient(stock).count("stablehlo.convolution") == 2
    assert gradient(ours).count("stablehlo.convolution") == 1  # few channels: the output


def test_what_a_cpu_runs_in_blocks():
    """Kernel gradients; outputs and input gradients of maps whose patches fit into a block."""
    choice = lambda i, size, channels: choose("cpu", 1, i, *operands(i, size, channels))

    def operands(i, size, channels):
        x, w = jnp.zeros((2, size, size, channels)), jnp.zeros((3, 3, channels, 64))
        conv = partial(conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=LAYOUTS[2])
        y = jnp.zeros((2, size, size, 64))
        return *((x, w), (y, w), (x, y))[i], read_geometry(conv, x, w)

    assert [choice(i, 14, 64) for i in range(3)] == ["loop", "loop", "loop"]
    assert [choice(i, 42, 64) for i in range(3)] == ["native", "native", "loop"]
    assert [choice(i, 28, 1) for i in range(3)] == ["native", "loop", "loop"]


def test_shared_kernel_is_the_stock_convolution():
    ours, stock, x, w = setup("stride_2", np.float32)
    text = compiled_text(jax.vmap(ours, (0, None)), x, w[0], platforms=("tpu",))
    assert text.count("stablehlo.convolution") == 1 and "feature_group_count = 1 " in text
    assert text.count("stablehlo.transpose") == 0


@pytest.mark.parametrize("platform", ("cpu", "cuda", "tpu"))
def test_no_grouped_convolution(platform):
    ours, stock, x, w = setup("stride_2", np.float32)
    grouped = lambda f: (
        f"group_count = {T} "
        in compiled_text(jax.grad(lambda x, w: jnp.sum(jax.vmap(f)(x, w) ** 2), (0, 1)), x, w, platforms=(platform,))
    )
    assert grouped(stock) and not grouped(ours)
    with set_lowering("native"):
        assert grouped(ours)


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_sharded_tasks_stay_where_they_are(monkeypatch):
    monkeypatch.setattr("jaxmeta.ops._lowerings.CACHE", 1)
    ours, _, x, w = setup("stride_2", np.float32)
    x, w = (jnp.concatenate([a[:2], -a[:2]]) for a in (x, w))
    f = jax.grad(lambda w, x: jnp.sum(jax.vmap(ours)(x, w) ** 3))
    mesh = jax.make_mesh((2,), ("task",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    sharded = jax.device_put((w, x), NamedSharding(mesh, PartitionSpec("task")))
    program = jax.jit(lambda w, x: f(w, x)).lower(*sharded).compile()
    assert not re.search("all-gather|all-to-all|all-reduce|collective-permute", program.as_text())
    assert_close(program(*sharded), jax.jit(f)(w, x), 1e-5)


@pytest.mark.parametrize("check_vma", (False, True))
def test_shard_map(check_vma):
    ours, stock, x, w = setup("stride_2", np.float32)
    mesh = jax.make_mesh((1,), ("task",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    tasks = PartitionSpec("task")

    def run(f):
        local = jax.shard_map(jax.vmap(f), mesh=mesh, in_specs=tasks, out_specs=tasks, check_vma=check_vma)
        return jax.jit(jax.value_and_grad(lambda x, w: jnp.sum(local(x, w) ** 3), (0, 1)))(x, w)

    assert_close(run(ours), run(stock), 1e-5)


FALLBACKS = {
    "channels_first": ((2, 4, 6, 6), (6, 4, 3, 3), dict(dimension_numbers=None)),
    "batch_groups": ((4, 6, 6, 4), (3, 3, 4, 6), dict(batch_group_count=2)),
    "integers": ((2, 6, 6, 4), (3, 3, 4, 6), dict(dtype=np.int32)),
    "wider_result": ((2, 6, 6, 4), (3, 3, 4, 6), dict(dtype=jnp.bfloat16, preferred_element_type=np.float32)),
    "empty": ((0, 6, 6, 4), (3, 3, 4, 6), {}),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_falls_back_to_stock(name):
    x, w, options = FALLBACKS[name]
    options = dict(window_strides=(1, 1), padding="SAME", dimension_numbers=LAYOUTS[2]) | options
    dtype = options.pop("dtype", np.float32)
    x, w = (jnp.ones((T, *shape), dtype) for shape in (x, w))
    stock = partial(lax.conv_general_dilated, **options)
    assert_close(jax.vmap(partial(conv_general_dilated, **options))(x, w), jax.vmap(stock)(x, w))


def test_bad_arguments_get_the_stock_errors():
    x, w = jnp.ones((2, 6, 6, 4)), jnp.ones((3, 3, 5, 6))
    with pytest.raises(ValueError, match="4 // 1 != 5"):
        conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=LAYOUTS[2])
    with pytest.raises(TypeError, match="same dtype|same dtypes"):
        conv_general_dilated(x, w[:, :, :4].astype(jnp.bfloat16), (1, 1), "SAME", dimension_numbers=LAYOUTS[2])


def test_precision_follows_the_context():
    ours, stock, x, w = setup("same", np.float32)
    with jax.default_matmul_precision("highest"):
        assert "precision HIGHEST" in compiled_text(ours, x[0], w[0])
        assert compiled_text(ours, x[0], w[0]) == compiled_text(stock, x[0], w[0])
        assert "HIGHEST, HIGHEST" in compiled_text(jax.vmap(ours), x, w)


def test_set_lowering():
    with pytest.raises(ValueError, match="must be one of .*'gemm'.*, got 'fft'"):
        set_lowering("fft")
    ours, _, x, w = setup("same", np.float32)
    text = lambda: compiled_text(jax.vmap(lambda *a: ours(*a)), x, w)
    default = text()
    with set_lowering("loop"):
        assert "stablehlo.while" in text()
    assert text() == default
    set_lowering("native")
    assert "stablehlo.while" not in text()
    set_lowering("auto")
    assert text() == default


OPTIONS = [dict(), dict(strides=2, padding="VALID"), dict(feature_group_count=3, kernel_dilation=2), dict(padding=1)]


@pytest.mark.parametrize("options", OPTIONS)
def test_flax_linen(options, x64):
    modules = [
        nn.Conv(6, (3, 3), param_dtype=jnp.float64, conv_general_dilated=f, **options)
        for f in (conv_general_dilated, None)
    ]
    x = jax.random.normal(jax.random.key(0), (T, N, 8, 7, 3))
    params = jax.vmap(modules[0].init, (0, None))(jax.random.split(jax.random.key(1), T), x[0])

    def loss(module):
        return lambda params, x: jnp.sum(jax.vmap(module.apply)(params, x) ** 3)

    ours, stock = (jax.value_and_grad(loss(module))(params, x) for module in modules)
    assert_close(ours, stock)


@pytest.mark.parametrize("options", OPTIONS)
def test_flax_nnx(options, x64):
    def loss(f):
        extra = {} if f is None else {"conv_general_dilated": f}
        module = nnx.Conv(3, 6, (3, 3), param_dtype=jnp.float64, rngs=nnx.Rngs(0), **extra, **options)
        graph, params = nnx.split(module)
        x = jax.random.normal(jax.random.key(0), (T, N, 8, 7, 3))
        params = jax.tree.map(lambda p: jnp.stack([p, 2 * p, -p]), params)
        run = lambda params: jnp.sum(jax.vmap(lambda p, x: nnx.merge(graph, p)(x))(params, x) ** 3)
        return jax.tree.leaves(jax.value_and_grad(run)(params))

    assert_close(loss(conv_general_dilated), loss(None))
